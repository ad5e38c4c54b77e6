"""What takes longer, or more memory, than an image file's bytes and pixels say, counted before a decoder is given it.

Bytes and pixels are bounded by `images`. But each scan of a JPEG is a pass over all of its pixels; chunks, blocks and
markers that hold nothing are stepped over one by one; an animation has a canvas of its own; tags of a camera may all
mean the same bytes, each of which is copied. A sound file is far below every bound here.
"""

from projlens_core.errors import InvalidInput
from projlens_core.inputs import exif, jpeg

MAX_SCANS = 100  # of a JPEG; progressive ones have about ten
MAX_SCANNED = 800_000_000  # pixels, those of every scan counted: sixteen passes over the largest image that is read
MAX_PIECES = 50_000  # chunks of a PNG or a WebP, segments of a JPEG, blocks of a GIF before its first frame
MAX_RUN_LENGTH = 4_000_000  # pixels of a BMP in runs, which are decoded one by one; bytes of it, too
_RUN_LENGTH = (1, 2)  # a BMP's kinds of compression that are runs


def check_growth(data: bytes, label: str, most: int) -> None:
    """InvalidInput if decoding `data`, of any of the formats that are read, takes more than its size lets expect.

    most: pixels that are read. What is not even begun as its format says is left to its decoder.
    """
    if data.startswith(b"\xff\xd8\xff"):
        _check_jpeg(data, label)
    elif data.startswith(b"\x89PNG\r\n\x1a\n"):
        _check_pieces(_chunks(data, 8, length_first=True), label)
    elif data.startswith(b"WEBP", 8):
        canvas = _webp_canvas(data)
        if canvas > most:
            raise InvalidInput(f"{label} has {canvas:,} pixels, more than the {most:,} that are read; scale it down.")
        _check_pieces(_chunks(data, 12, length_first=False), label)
    elif data.startswith(b"GIF8"):
        _check_pieces(_gif_blocks(data), label)
    elif data.startswith(b"BM") and int.from_bytes(data[30:34], "little") in _RUN_LENGTH:
        width, height = (int.from_bytes(data[at : at + 4], "little", signed=True) for at in (18, 22))
        if max(abs(width * height), len(data)) > MAX_RUN_LENGTH:
            raise InvalidInput(
                f"{label} is a BMP in runs of {abs(width * height):,} pixels, more than the {MAX_RUN_LENGTH:,} of one "
                "that are read; save it as PNG."
            )


def _check_jpeg(data: bytes, label: str) -> None:
    frame = jpeg.frame(data, MAX_PIECES)
    _check_pieces(frame.segments, label)
    if frame.scans > MAX_SCANS or frame.scans * frame.width * frame.height > MAX_SCANNED:
        raise InvalidInput(
            f"{label} is a JPEG of {frame.scans:,} scans of {frame.width:,} × {frame.height:,} pixels, far more than "
            "any camera or program writes; save it anew."
        )
    if exif.claimed(frame.exif) > 4 * len(frame.exif):
        raise InvalidInput(
            f"{label} tells more about its camera ({exif.claimed(frame.exif):,} bytes) than it holds "
            f"({len(frame.exif):,}); save it anew without."
        )


def _check_pieces(count: int, label: str) -> None:
    if count > MAX_PIECES:
        raise InvalidInput(
            f"{label} is cut into more than {MAX_PIECES:,} pieces, as no program writes an image; save it anew."
        )


def _chunks(data: bytes, at: int, *, length_first: bool) -> int:
    """How many chunks follow each other from `at`, a PNG's or those of a RIFF; counted to just above the bound."""
    count = 0
    while at + 8 <= len(data) and count <= MAX_PIECES:
        if length_first:
            at += 12 + int.from_bytes(data[at : at + 4], "big")
        else:
            length = int.from_bytes(data[at + 4 : at + 8], "little")
            at += 8 + length + length % 2
        count += 1
    return count


def _webp_canvas(data: bytes) -> int:
    """Pixels of an animation's canvas, 0 without one: its decoder allocates it before it says how large it is."""
    if data[12:16] != b"VP8X":
        return 0
    width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
    return width * height


def _gif_blocks(data: bytes) -> int:
    """How many blocks come before the first frame."""
    at, count = 13, 0
    if len(data) > 10 and data[10] & 0x80:
        at += 3 << (data[10] & 7) + 1  # the palette
    while data[at : at + 1] == b"!" and count <= MAX_PIECES:
        at += 2
        while at < len(data) and count <= MAX_PIECES:
            length = data[at]
            at += 1 + length
            count += 1
            if not length:
                break
    return count
