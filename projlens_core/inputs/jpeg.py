"""A JPEG's markers, read before and after it is decoded: how much there is to decode, and whether all of it is there.

Its decoder fills what is missing with grey and does not say so, so ProjLens looks.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

from PIL.JpegImagePlugin import JpegImageFile

# A marker inside or between scans: 0xFF and a code that is neither a stuffed zero, a restart (D0–D7) nor a fill byte.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_END_OF_IMAGE, _SCAN, _EXIF = 0xD9, 0xDA, 0xE1
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers that say how large the image is
_WITHOUT_LENGTH = (0x01, 0xD8)
# Arbitrary bytes of image data, then the same after each restart marker, in case the decoder waits for one.
_BYTES = b"\x55\xaa\x33\xcc" * 16
_FILLER = _BYTES + b"".join(_BYTES + bytes((0xFF, 0xD0 + n % 8)) for n in range(16)) + _BYTES


@dataclass(frozen=True)
class Frame:
    """What the markers say: px of the image (0 where none says it), passes over it, segments, the camera's notes."""

    width: int
    height: int
    scans: int
    segments: int
    exif: bytes


def _markers(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """(code, where it begins, where its content does, how long that is) of each marker, restarts aside."""
    position = 2
    while found := _MARKER.search(data, position):
        code, at = data[found.end() - 1], found.end()
        length = 0 if code in _WITHOUT_LENGTH else int.from_bytes(data[at : at + 2])
        yield code, found.start(), at, length
        position = at + length


def frame(data: bytes, most: int) -> Frame:
    """The frame of a JPEG file, damaged or not, its segments counted to just above `most`."""
    width = height = scans = segments = 0
    exif: list[bytes] = []
    for code, _, at, length in _markers(data):
        if code == _END_OF_IMAGE or segments > most:
            break
        segments += 1
        if code in _FRAMES:
            height = max(height, int.from_bytes(data[at + 3 : at + 5]))
            width = max(width, int.from_bytes(data[at + 5 : at + 7]))
        elif code == _EXIF and data.startswith(b"Exif\0\0", at + 2):
            exif.append(data[at + 2 + 6 * bool(exif) : at + length])  # as Pillow joins them
        scans += code == _SCAN
    return Frame(width, height, scans, segments, b"".join(exif))


def is_whole(data: bytes, pixels: bytes) -> bool:
    """Whether the JPEG file `data`, which decodes to `pixels` (Pillow's tobytes), holds all of them.

    A file that was cut off and closed with an end marker decodes "successfully". So it is decoded again with other
    bytes before that marker: a whole file's decoder has all it needs by then and gives the same pixels; one that is
    still short of data reads those bytes and does not. (Blind to a cut that falls exactly between two scans.)
    """
    # past thumbnails in the header and before anything appended to the file
    end = next((begin for code, begin, *_ in _markers(data) if code == _END_OF_IMAGE), None)
    if end is None:
        return False
    return JpegImageFile(BytesIO(data[:end] + _FILLER + data[end:])).tobytes() == pixels
