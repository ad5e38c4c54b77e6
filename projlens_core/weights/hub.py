"""A checkpoint on the Hugging Face Hub: its list of files, and byte ranges of them; nothing is downloaded whole.

The endpoint is $HF_ENDPOINT, the token the one of huggingface_hub, and none where others can name models (see roots):
they must not read what only the owner may. A token never follows a redirect to another host.
"""

import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import quote, urlsplit

import httpx2
from huggingface_hub import ModelInfo, hf_hub_url
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import RepoSibling
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status, validate_repo_id

from projlens_core.errors import InvalidInput, NotFound, ProjLensError
from projlens_core.runtime.roots import roots
from projlens_core.runtime.text import listed
from projlens_core.sources import HubName
from projlens_core.weights import hub_ranges
from projlens_core.weights.bytesource import check_range

ENDPOINT = "https://huggingface.co"
_TIMEOUT = 30.0  # s without a byte
_ATTEMPTS = 4  # at one range; each goes on from the last byte that arrived
_INFO_SECONDS = 60.0  # that a list of files may take in all
_MAX_INFO = 64 * 2**20  # bytes of it; a repository of 100,000 files has 30 MB
_SLOWEST = 20_000  # bytes a second, below which a server is given up
_MAX_UNASKED = 64 * 2**20  # bytes passed over where a server sends whole files instead of ranges


class HubFolder:
    """The files of one repository, or of one folder in it, at one commit."""

    def __init__(self, name: HubName, folder: str = ""):
        self._endpoint = os.environ.get("HF_ENDPOINT", ENDPOINT).rstrip("/")
        self._host = urlsplit(self._endpoint).hostname  # for messages: an address may hold a password
        info = self._info(name)
        self.commit: str = info.sha or name.revision
        self.label = f"{name.repository}@{self.commit[:12]}"
        self._repository, self._prefix = name.repository, f"{folder}/" if folder else ""
        here = [each for each in info.siblings or () if each.rfilename.startswith(self._prefix)]
        files: dict[str, RepoSibling] = {each.rfilename.removeprefix(self._prefix): each for each in here}
        self._files = {path: each for path, each in files.items() if "/" not in path}
        self._nested = sorted(files.keys() - self._files.keys())

    def names(self) -> list[str]:
        """Plain file names, sorted; subfolders are left out."""
        return sorted(self._files)

    def nested(self) -> list[str]:
        """Paths of files in subfolders, sorted."""
        return self._nested

    def file(self, name: str) -> "HubFile":
        """One of the files; NotFound if there is none of that name."""
        if name not in self._files:
            raise NotFound(f"{self.label} has no file {name[:80]!r}; it has {listed(self.names())}.")
        sibling = self._files[name]
        if type(sibling.size) is not int or sibling.size < 0:
            raise InvalidInput(f"{self._host} does not say how large {name} of {self.label} is; download it.")
        url = hf_hub_url(self._repository, self._prefix + name, revision=self.commit, endpoint=self._endpoint)
        return HubFile(url, name, sibling.size, sibling.lfs.sha256 if sibling.lfs else None)

    def _info(self, name: HubName) -> ModelInfo:
        """What the Hub says of the repository: its commit and its files.

        Not by HfApi.model_info, which takes an answer of any length, for as long as it keeps coming.
        """
        repository, revision = (quote(part, safe=safe) for part, safe in ((name.repository, "/"), (name.revision, "")))
        failed = f"{self._host} does not list the files of {name.repository}"
        with asking(failed, "try later, or download the model and give its path"):
            try:
                validate_repo_id(name.repository)
                url = f"{self._endpoint}/api/models/{repository}/revision/{revision}?blobs=true"
                answer = json.loads(bounded(url, self._host, name.repository)[0])
            except GatedRepoError as error:
                raise NotFound(
                    f"{name.repository} is gated: accept its terms and log in with `hf auth login`."
                ) from error
            except (RepositoryNotFoundError, RevisionNotFoundError) as error:
                raise NotFound(
                    f"{self._host} has no model {name.repository!r} with a revision {name.revision!r} that may be read."
                ) from error
            if not isinstance(answer, dict):
                raise ValueError("not an object")
            info = ModelInfo(**{"id": name.repository} | answer)
            if odd := [each.rfilename for each in info.siblings or () if not isinstance(each.rfilename, str)]:
                raise ValueError(f"a file called {odd[0]!r}")
            return info


class HubFile:
    """One file on the Hub, read by HTTP ranges. digest is its SHA-256 as the Hub states it, for large files."""

    def __init__(self, url: str, name: str, size: int, digest: str | None):
        self.url, self.name, self.size, self.digest, self.bytes_read = url, name, size, digest, 0

    def read(self, begin: int, length: int) -> bytearray:
        """Exactly `length` bytes from `begin`, taken up again where a connection breaks; InvalidInput if it fails."""
        own = hub_ranges.named(self.url, begin, check_range(self, begin, length))
        if (known := hub_ranges.known(own)) is not None:
            self.bytes_read += length
            return bytearray(known)
        buffer, done, trouble = bytearray(length), 0, ""
        self._ends = time.monotonic() + _seconds(length)
        for _ in range(_ATTEMPTS):
            if done == length:
                break
            try:
                with self._response(begin + done, length - done) as (response, unasked):
                    done += self._fill(memoryview(buffer)[done:], response, unasked)
                trouble = "the connection was closed early"
            except (httpx2.HTTPError, httpx2.StreamError) as error:
                trouble = type(error).__name__
                done += self._got
        self.bytes_read += done
        if done < length:
            raise InvalidInput(
                f"Reading {self.name} from the Hub broke off after {done:,} of {length:,} bytes, {_ATTEMPTS} times "
                f"over ({trouble}); try later, or download the model and give its path."
            )
        hub_ranges.note(own, buffer)
        return buffer

    @contextmanager
    def _response(self, begin: int, length: int) -> Iterator[tuple[httpx2.Response, int]]:
        """The answer to a range request, and how many bytes of it come before the range."""
        self._got = 0
        # A compressed answer has other byte positions than the file.
        headers = build_hf_headers(token=_token()) | {
            "Range": f"bytes={begin}-{begin + length - 1}",
            "Accept-Encoding": "identity",
        }
        with get_session().stream(
            "GET", self.url, headers=headers, follow_redirects=True, timeout=_TIMEOUT
        ) as response:
            yield response, self._unasked(response.status_code, response.headers, begin, length)

    def _unasked(self, status: int, headers: Mapping[str, str], begin: int, length: int) -> int:
        if status == httpx2.codes.PARTIAL_CONTENT:
            said = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", headers.get("Content-Range", ""))
            if said is None or int(said[1]) != begin or said[3] not in ("*", str(self.size)):
                raise InvalidInput(
                    f"The server of {self.name} answered with bytes {headers.get('Content-Range', '')[:60]!r}, "
                    f"expected those from {begin:,} of {self.size:,}; download the model and give its path."
                )
            return 0
        if status == httpx2.codes.OK:
            if begin + length > _MAX_UNASKED:
                raise InvalidInput(
                    f"The server of {self.name} sends whole files only, and this one has {self.size:,} bytes; "
                    "download the model and give its path."
                )
            return begin
        raise InvalidInput(
            f"The server of {self.name} answered with status {status}; try later, or download the model and give "
            "its path."
        )

    def _fill(self, view: memoryview, response: httpx2.Response, unasked: int) -> int:
        """Copy what arrives into `view` until it is full; self._got says how much even if the connection breaks."""
        for chunk in response.iter_raw():  # as it was sent: a compressed answer has other byte positions
            if time.monotonic() > self._ends:
                raise InvalidInput(
                    f"{self.name} came too slowly from the Hub, {self._got:,} of {len(view):,} bytes in "
                    f"{_seconds(len(view)):.0f} s; try later, or download the model and give its path."
                )
            wanted = chunk[unasked:][: len(view) - self._got]
            unasked = max(0, unasked - len(chunk))
            view[self._got : self._got + len(wanted)] = wanted
            self._got += len(wanted)
            if self._got == len(view):
                break  # what a server sends beyond the range is not waited for
        return self._got


@contextmanager
def asking(failed: str, advice: str) -> Iterator[None]:
    """Whatever becomes of a question to the Hub as InvalidInput: what failed, by which kind of error, and the advice.

    Not in the error's words (see errors.as_invalid_input), which may hold an address and its password.
    """
    try:
        yield
    except (ProjLensError, MemoryError):
        raise
    except Exception as error:
        raise InvalidInput(f"{failed} ({type(error).__name__}); {advice}.") from error


def bounded(url: str, host: str | None, repository: str) -> tuple[bytes, Mapping[str, str]]:
    """A small document from the Hub and its headers; InvalidInput for one that is too long or does not end.

    Errors as hf_raise_for_status besides. What is sent compressed is bounded by what grows out of it.
    """
    ends = time.monotonic() + _INFO_SECONDS
    parts, length = [], 0
    with get_session().stream(
        "GET", url, headers=build_hf_headers(token=_token()), follow_redirects=True, timeout=_TIMEOUT
    ) as response:
        for part in response.iter_bytes():
            parts.append(part)
            length += len(part)
            if length > _MAX_INFO or time.monotonic() > ends:
                raise InvalidInput(
                    f"{host} does not come to an end with its list of the files of {repository} ({length:,} bytes); "
                    "download the model and give its path."
                )
        if response.is_error:
            response._content = b"".join(parts)  # where hf_raise_for_status looks for the server's words
        hf_raise_for_status(response)
    return b"".join(parts), response.headers


def _token() -> bool | None:
    """As huggingface_hub takes it: None is the owner's, if there is one, False none."""
    return None if roots() is None else False


def open_hub(name: HubName) -> tuple[HubFolder, HubFile | None]:
    """The folder on the Hub that `name` means, and the file in it, if it names one; NotFound if there is none."""
    folder, _, file = (name.file or "").rpartition("/")
    found = HubFolder(name, folder)
    if file and file not in found.names():  # a folder may be named as well
        return HubFolder(name, name.file or ""), None
    return found, found.file(file) if file else None


def _seconds(length: int) -> float:
    """How long `length` bytes may take."""
    return 2 * _TIMEOUT + length / _SLOWEST
