"""The disk cache: results by content and version, never by name, so that nothing stale can ever be served.

It is diskcache's, which several processes share safely. Entries are bytes behind a digest: what was damaged is noticed
and made anew, and nothing is ever unpickled. A cache that cannot be used costs time, not the result; `trouble` says so.
"""

import hashlib
import shutil
import sqlite3
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeVar

import diskcache

from projlens_core.runtime import versions
from projlens_core.runtime.paths import cache_dir

SIZE_LIMIT = 4 * 2**30  # bytes of one cache; beyond it, what was stored longest ago goes first
_DIGEST = hashlib.sha256().digest_size
_MISREAD = (ValueError, TypeError, LookupError, AttributeError, AssertionError)  # what damaged tables end in
_UNUSABLE = (sqlite3.Error, diskcache.Timeout, OSError, *_MISREAD)  # full, read-only, locked for a minute
# ERROR: without its tables. CONSTRAINT: a key that the index does not find, and is there.
_DAMAGED = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT)
_open: dict[Path, diskcache.Cache] = {}
_opening = threading.Lock()
T = TypeVar("T")
_closed: list[bool] = []  # whether this process leaves the caches alone; at most one entry
_trouble: list[str] = []  # why the last result was not kept; at most one sentence


class _BytesOnly(diskcache.Disk):
    """Refuses to unpickle what somebody put into the database."""

    def fetch(self, mode: int, filename: str | None, value: object, read: bool) -> object:
        if mode not in (diskcache.core.MODE_RAW, diskcache.core.MODE_BINARY):
            return None
        return super().fetch(mode, filename, value, read)


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
    if _closed:
        return None
    full = content_key(_version(), name, key)
    try:
        entry = _used(name, lambda kept: kept.get(full))
    except _UNUSABLE:
        return None
    if not isinstance(entry, bytes):
        return None
    digest, data = entry[:_DIGEST], entry[_DIGEST:]
    return data if _digest(full, data) == digest else None


def store(name: str, key: str, data: bytes) -> None:
    """Keep `data` under `key` in the cache called `name`.

    A disk that does not take it costs time later, not the result now: see `trouble`.
    """
    if _closed:
        return
    full = content_key(_version(), name, key)
    entry = _digest(full, data) + data
    try:
        _used(name, lambda kept: kept.set(full, entry))
    except _UNUSABLE as error:
        _trouble[:] = [
            f"Results cannot be kept in {cache_dir()} ({getattr(error, 'strerror', None) or error}), so that they are "
            "computed anew each time; free space there, make it writable, or set $PROJLENS_CACHE to another folder."
        ]
        return
    _trouble.clear()


def leave_alone() -> None:
    """Neither read nor write any cache in this process from now on: one that may not write leaves half of one."""
    _closed[:] = [True]


def trouble() -> str | None:
    """Why the last result could not be kept, in one sentence; None if it was."""
    return _trouble[0] if _trouble else None


def _used(name: str, use: Callable[[diskcache.Cache], T]) -> T:
    """What `use` makes of the cache; a damaged one is begun anew first, as what it held can be computed."""
    try:
        return use(_cache(name))
    except (sqlite3.DatabaseError, *_MISREAD) as error:
        code = getattr(error, "sqlite_errorcode", None)  # None for a text that is not UTF-8
        if (code is not None and code & 0xFF not in _DAMAGED) or isinstance(error, sqlite3.ProgrammingError):
            raise
        _remove(name)
        return use(_cache(name))


def _cache(name: str) -> diskcache.Cache:
    folder = cache_dir() / name
    with _opening:
        if folder not in _open:
            # no memory map: a file that is cut under one would end the process
            _open[folder] = diskcache.Cache(folder, disk=_BytesOnly, size_limit=SIZE_LIMIT, sqlite_mmap_size=0)
        return _open[folder]


def _remove(name: str) -> None:
    folder = cache_dir() / name
    with _opening:
        if (damaged := _open.pop(folder, None)) is not None:
            damaged.close()
        shutil.rmtree(folder, ignore_errors=True)


@cache
def _version() -> str:
    return content_key(versions.installed(), versions.sources(*versions.COMPUTING))


def _digest(key: str, data: bytes) -> bytes:
    """Of the data and of what they are stored under, so that no entry can stand in for another."""
    digest = hashlib.sha256(key.encode())
    digest.update(data)
    return digest.digest()
