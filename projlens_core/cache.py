"""The disk cache: results by content, never by name, so that a changed file can never be served a stale answer."""

import hashlib
import sqlite3
from functools import cache

import diskcache

from projlens_core.paths import cache_dir

SIZE_LIMIT = 4 * 2**30  # bytes; diskcache evicts the least recently stored beyond it
_DIGEST = hashlib.sha256().digest_size
_UNUSABLE = (sqlite3.Error, diskcache.Timeout, OSError)  # a full, read-only or damaged disk costs time, not the result


def content_key(*parts: object) -> str:
    """SHA-256 over the parts, bytes as they are and all else by repr, each with its length (no two lists collide)."""
    digest = hashlib.sha256()
    for part in parts:
        data = bytes(part) if isinstance(part, bytes | bytearray | memoryview) else repr(part).encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


@cache
def open_cache(name: str) -> diskcache.Cache:
    """The cache called `name` under cache_dir(); safe to share between threads and processes."""
    return diskcache.Cache(cache_dir() / name, size_limit=SIZE_LIMIT)


def stored(name: str, key: str) -> bytes | None:
    """What was stored under `key` in the cache called `name`; None if there is nothing, or it is not what was written.

    Values are bytes, whatever they mean, since others would be unpickled when read.
    """
    try:
        entry = open_cache(name).get(key)
    except _UNUSABLE:
        return None
    if not isinstance(entry, bytes):
        return None
    digest, data = entry[:_DIGEST], entry[_DIGEST:]
    return data if hashlib.sha256(data).digest() == digest else None


def store(name: str, key: str, data: bytes) -> None:
    """Keep `data` behind its digest under `key` in the cache called `name`; an unusable cache keeps nothing."""
    try:
        open_cache(name).set(key, hashlib.sha256(data).digest() + data)
    except _UNUSABLE:
        return
