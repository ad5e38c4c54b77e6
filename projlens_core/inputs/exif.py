"""Which way up an image was taken: the one entry of a camera's notes (EXIF) that is read.

Pillow copies the bytes of every entry before one can be asked for, and all entries may mean the same ones; here the
entries are only stepped over.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Literal

ORIENTATION = 0x0112
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}  # bytes of a value by its type
_SHORT = 3  # the type of a 16-bit whole number
_PREFIX = b"Exif\0\0"


def orientation(info: Mapping) -> int | None:
    """The orientation, 1 to 8, in an image's `info` as Pillow gives it; None where there is none or it is damaged."""
    block = info.get("exif")
    if not isinstance(block, bytes):
        block = _from_text(info.get("Raw profile type exif"))
    for tag, kind, count, value in _entries(block):
        if tag == ORIENTATION:
            return value if kind == _SHORT and count == 1 and 1 <= value <= 8 else None
    about = info.get("XML:com.adobe.xmp") or info.get("xmp") or b""
    found = re.search(rb'tiff:Orientation(?:="|>)([1-8])', about.encode() if isinstance(about, str) else about)
    return int(found[1]) if found else None


def claimed(block: bytes) -> int:
    """How many bytes the entries of the block together say that they have; a sound block has them all."""
    return sum(_SIZES.get(kind, 0) * count for _, kind, count, _ in _entries(block))


def _entries(block: bytes) -> Iterator[tuple[int, int, int, int]]:
    """(tag, type, count, value as a 16-bit number) of the first directory's entries, at most 65,535."""
    block = block.removeprefix(_PREFIX)
    order: Literal["little", "big"]
    match block[:2]:
        case b"II":
            order = "little"
        case b"MM":
            order = "big"
        case _:
            return
    at = int.from_bytes(block[4:8], order)
    for begin in range(at + 2, min(at + 2 + 12 * int.from_bytes(block[at : at + 2], order), len(block) - 11), 12):
        tag, kind = (int.from_bytes(block[begin + i : begin + i + 2], order) for i in (0, 2))
        count, value = (int.from_bytes(block[begin + i : begin + i + n], order) for i, n in ((4, 4), (8, 2)))
        yield tag, kind, count, value


def _from_text(text: object) -> bytes:
    """The block as ImageMagick writes it into a PNG: a head of three lines, then hexadecimal digits."""
    if not isinstance(text, str):
        return b""
    try:
        return bytes.fromhex("".join(text.split("\n")[3:]))
    except ValueError:
        return b""
