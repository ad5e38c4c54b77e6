"""What a model's files hold, as one hash: what was computed of the same content is not computed again."""

import hashlib
import os
from pathlib import Path

from projlens_core.errors import InvalidInput, NotFound
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.files import open_regular
from projlens_core.runtime.text import printable
from projlens_core.sources import HUB_PREFIX, HubName, Source, resolve
from projlens_core.weights.checkpoint import ADAPTER_CONFIG
from projlens_core.weights.selection import WEIGHTS

WHOLE = (
    64 * 2**20
)  # bytes; a larger file counts by size, change time and inode, as hashing it takes longer than all else
_BESIDE = ("config.json", ADAPTER_CONFIG)  # what decides how a lone file is read
_COMMIT = 40  # hexadecimal digits


def pinned(spec: str) -> str:
    """The spec, a Hub's branch or tag replaced by the commit that it means now, so that it means the same for good.

    Errors as sources.resolve, and as HubFolder where the Hub has to be asked.
    """
    hub = resolve(spec).hub
    if hub is None or _is_commit(hub.revision):
        return spec
    from projlens_core.weights.hub import HubFolder  # only where one is named: its client takes a second

    commit = HubFolder(HubName(hub.repository, hub.revision, None)).commit
    family = spec.partition("#")[2]
    file = f":{hub.file}" if hub.file else ""
    return f"{HUB_PREFIX}{hub.repository}@{commit}{file}" + (f"#{family}" if family else "")


def identity(spec: str) -> str:
    """A hash of all that a pinned spec's result can depend on: a commit on the Hub, else its files' content.

    Errors as sources.resolve; InvalidInput for what cannot be read.
    """
    source = resolve(spec)
    if source.hub is not None:
        return content_key("hub", source.hub.repository, source.hub.revision, source.hub.file, source.family)
    try:
        return content_key("files", source.family, *_files(source))
    except OSError as error:
        raise InvalidInput(f"{printable(spec)} cannot be read ({error.strerror}).") from error


def _files(source: Source) -> list[tuple]:
    if source.weights.is_dir():
        inside = sorted(source.weights.iterdir())
        return [(path.name, _content(path)) for path in inside if path.suffix in (".json", ".jinja", *WEIGHTS)]
    beside = dict.fromkeys(
        folder / name for folder in (source.weights.parent, source.model) if folder for name in _BESIDE
    )
    # its name is its own business, but for the ending, which says what it is
    return [
        (source.weights.suffix, _content(source.weights)),
        *((path.name, _content(path)) for path in beside if path.is_file()),
    ]


def _content(path: Path) -> str | tuple[int, ...]:
    try:
        with open_regular(path, "") as file:
            if file.size <= WHOLE:
                return hashlib.sha256(file.read()).hexdigest()
    except NotFound:
        return "no regular file"
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns, found.st_ino


def _is_commit(revision: str) -> bool:
    return len(revision) == _COMMIT and all(digit in "0123456789abcdef" for digit in revision)


def folder_identity(folder: str) -> str:
    """A hash of the names and contents of a folder's files; InvalidInput if it cannot be read."""
    try:
        files = sorted(path for path in Path(folder).expanduser().iterdir() if path.is_file())
        return content_key(*((path.name, _content(path)) for path in files))
    except OSError as error:
        raise InvalidInput(f"{printable(folder)} cannot be read ({error.strerror}).") from error
