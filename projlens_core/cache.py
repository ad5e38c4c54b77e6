"""The disk cache: results by content and version, never by name, so that nothing stale can ever be served.

One file an entry, CACHE/NAME/xx/HASH: a digest, then the data. It is written whole under another name and renamed. So
processes share a cache without locks, whoever is killed leaves at most a file that nobody reads, an entry that was
damaged is noticed and made anew, and a folder that cannot be written still serves what it holds.
"""

import hashlib
import os
import tempfile
from functools import cache
from pathlib import Path

from projlens_core import versions
from projlens_core.paths import cache_dir

SIZE_LIMIT = 4 * 2**30  # bytes of one cache; beyond it, what was stored longest ago goes first
TRIM_EVERY = 2**26  # bytes stored, on average, between two looks at how large the cache is
PARTIAL = ".partial-"  # begins the names of files that are being written
_DIGEST = hashlib.sha256().digest_size
_trouble: list[str] = []  # why the last result was not kept; at most one sentence


def content_key(*parts: object) -> str:
    """SHA-256 over the parts, bytes as they are and all else by repr, each with its length (no two lists collide)."""
    digest = hashlib.sha256()
    for part in parts:
        data = bytes(part) if isinstance(part, bytes | bytearray | memoryview) else repr(part).encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def stored(name: str, key: str) -> bytes | None:
    """What was stored under `key` in the cache called `name`; None if there is nothing, or it is not what was written.

    What another version of ProjLens or of its libraries stored is not found.
    """
    path = _path(name, key)
    try:
        entry = path.read_bytes()
    except OSError:
        return None
    digest, data = entry[:_DIGEST], entry[_DIGEST:]
    return data if _digest(path, data) == digest else None


def store(name: str, key: str, data: bytes) -> None:
    """Keep `data` under `key` in the cache called `name`.

    A disk that does not take it costs time later, not the result now: see `trouble`.
    """
    path = _path(name, key)
    try:
        _write(path, _digest(path, data) + data)
        # The entry's own hash decides which stores look at the size: no state to share, no clock, no dice.
        if int(path.name[:8], 16) / 2**32 < len(data) / TRIM_EVERY:
            _trim(cache_dir() / name, path)
    except OSError as error:
        _trouble[:] = [
            f"Results cannot be kept in {cache_dir()} ({error.strerror or error}), so that they are computed anew each "
            "time; free space there, make it writable, or set $PROJLENS_CACHE to another folder."
        ]
        return
    _trouble.clear()


def trouble() -> str | None:
    """Why the last result could not be kept, in one sentence; None if it was."""
    return _trouble[0] if _trouble else None


def _path(name: str, key: str) -> Path:
    hashed = content_key(_version(), name, key)
    return cache_dir() / name / hashed[:2] / hashed


@cache
def _version() -> str:
    return content_key(versions.installed(), versions.sources(*versions.COMPUTING))


def _digest(path: Path, data: bytes) -> bytes:
    """Of the data and of what they are stored under, so that no entry can stand in for another."""
    digest = hashlib.sha256(path.name.encode())
    digest.update(data)
    return digest.digest()


def _write(path: Path, entry: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(prefix=PARTIAL, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(entry)
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def _trim(folder: Path, newest: Path) -> None:
    """Remove what was stored longest ago, unfinished files of killed processes included, until the rest fits."""
    found = []
    for path in folder.glob("*/*"):
        try:
            found.append((path.stat().st_mtime_ns, path.stat().st_size, path))
        except FileNotFoundError:
            continue  # another process was faster
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= SIZE_LIMIT:
            return
        if path != newest:
            path.unlink(missing_ok=True)
            total -= size
