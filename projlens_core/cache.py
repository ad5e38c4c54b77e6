"""The disk cache: results by content, never by name, so that a changed file can never be served a stale answer."""

import hashlib
from functools import cache

import diskcache

from projlens_core.paths import cache_dir

SIZE_LIMIT = 4 * 2**30  # bytes; diskcache evicts the least recently stored beyond it


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
