"""Byte ranges of the Hub's files that were read once, for other processes of the machine that read the same.

A file of them begins with the length of a JSON list, the list, and then has the bytes, one range after the other. The
list names each range by a hash of its file's address, which has the commit in it, by where it begins, its length, and
its SHA-256: what was damaged is asked of the Hub again.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from projlens_core.runtime.cache import content_key

Range = tuple[str, int, int]  # of which file, from where, how many bytes
_HEAD = 8  # bytes of the list's length
_used: Path | None = None
_places: dict[Range, tuple[int, str]] = {}  # in the file that is used: where, and the digest
_recorders: list[dict[Range, bytes]] = []


def named(url: str, begin: int, length: int) -> Range:
    """The range's name; the address itself may hold a password."""
    return content_key(url), begin, length


def known(each: Range) -> bytes | None:
    """The bytes of a range from the file that is used; None if it is not there, or damaged."""
    if _used is None or each not in _places:
        return None
    at, digest = _places[each]
    try:
        with _used.open("rb") as file:
            file.seek(at)
            data = file.read(each[2])
    except OSError:
        return None
    return data if hashlib.sha256(data).hexdigest() == digest else None


def note(each: Range, data: bytes | bytearray) -> None:
    """Tell whoever records that this range was read."""
    for recorder in _recorders:
        recorder[each] = bytes(data)


@contextmanager
def recording() -> Iterator[dict[Range, bytes]]:
    """What is read of the Hub by this process until the block ends."""
    found: dict[Range, bytes] = {}
    _recorders.append(found)
    try:
        yield found
    finally:
        _recorders.remove(found)


def packed(found: dict[Range, bytes]) -> bytes:
    """The ranges as a file of them."""
    text = json.dumps([[*each, hashlib.sha256(data).hexdigest()] for each, data in found.items()]).encode()
    return b"".join((len(text).to_bytes(_HEAD, "little"), text, *found.values()))


def use(path: Path | None) -> None:
    """Take ranges from this file from now on, and from no other; from none if it is not there or not whole."""
    global _used
    if path == _used:
        return
    _used = path
    _places.clear()
    if path is None:
        return
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_HEAD), "little")
            if length > path.stat().st_size:
                return
            at = _HEAD + length
            for address, begin, size, digest in json.loads(file.read(length)):
                _places[address, begin, size] = at, digest
                at += size
    except (OSError, ValueError, TypeError):
        _places.clear()
