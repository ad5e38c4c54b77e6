"""Whether a JPEG is whole: its decoder fills what is missing with grey and does not say so, so ProjLens looks."""

import re
from io import BytesIO

from PIL.JpegImagePlugin import JpegImageFile

# A marker inside or between scans: 0xFF and a code that is neither a stuffed zero, a restart (D0–D7) nor a fill byte.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_END_OF_IMAGE = 0xD9
_WITHOUT_LENGTH = (0x01, 0xD8)
# Arbitrary bytes of picture data, then the same after each restart marker, in case the decoder waits for one.
_BYTES = b"\x55\xaa\x33\xcc" * 16
_FILLER = _BYTES + b"".join(_BYTES + bytes((0xFF, 0xD0 + n % 8)) for n in range(16)) + _BYTES


def is_whole(data: bytes, pixels: bytes) -> bool:
    """Whether the JPEG file `data`, which decodes to `pixels` (Pillow's tobytes), holds all of them.

    A file that was cut off and closed with an end marker decodes "successfully". So it is decoded again with other
    bytes before that marker: a whole file's decoder has all it needs by then and gives the same pixels; one that is
    still short of data reads those bytes and does not. (Blind to a cut that falls exactly between two scans.)
    """
    end = _end_marker(data)
    if end is None:
        return False
    return JpegImageFile(BytesIO(data[:end] + _FILLER + data[end:])).tobytes() == pixels


def _end_marker(data: bytes) -> int | None:
    """Offset of the end-of-image marker, past thumbnails in the header and before anything appended to the file."""
    position = 2
    while found := _MARKER.search(data, position):
        code = data[found.end() - 1]
        if code == _END_OF_IMAGE:
            return found.start()
        length = 0 if code in _WITHOUT_LENGTH else int.from_bytes(data[found.end() : found.end() + 2])
        position = found.end() + length
    return None
