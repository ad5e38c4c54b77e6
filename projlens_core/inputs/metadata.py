"""An image file without what its pixels do not need: colour profiles, texts, comments, thumbnails.

They may be far larger than the image, and made up of any number of pieces, which Pillow refuses or takes minutes
over. What says which way up the image is stays (EXIF; texts with XMP of up to a MiB), and so does all that decoding
needs.
Where the structure is not what the format says, the rest of the file is left as it is, for the decoder to judge.
"""

import re
import zlib

from projlens_core.errors import InvalidInput

MAX_PIECES = 100_000  # of one file; a PNG of 64 MiB in pieces of 1 kB has fewer
_MAX_KEPT = 2**20  # bytes of one kept text, decompressed
_MAX_TEXTS = 16  # of EXIF or XMP that are kept

_PNG, _JPEG, _GIF = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8"
_NEEDED = (b"tRNS", b"eXIf")  # of the chunks that a decoder may pass over
_UPRIGHT_TEXTS = (b"XML:com.adobe.xmp", b"Raw profile type exif")
_JPEG_KEPT = (0xE0, 0xEE)  # JFIF; Adobe's, which says how colours are coded
_JPEG_UPRIGHT = (b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0")
_START_OF_SCAN = 0xDA
_BLOCKS = 4  # of a GIF that count as one piece: they have at most 255 bytes
_WITHOUT_LENGTH = (0x01, *range(0xD0, 0xD9))


def without_metadata(data: bytes, label: str) -> bytes:
    """The file's content without metadata, for PNG, JPEG and GIF; others as they are. `label` names it in messages.

    InvalidInput for a file of more than MAX_PIECES chunks, segments or blocks.
    """
    for mark, kept in ((_PNG, _of_png), (_JPEG, _of_jpeg), (_GIF, _of_gif)):
        if data.startswith(mark):
            cursor = _Cursor(data, label)
            kept(cursor)
            return bytes(cursor.made) + data[cursor.at :] if cursor.dropped else data
    return data


class _Cursor:
    """A place in a file, what was kept before it, and how many pieces it has been through."""

    def __init__(self, data: bytes, label: str):
        self.data, self.label = data, label
        self.at, self.pieces, self.dropped, self.made = 0, 0, False, bytearray()

    def take(self, end: int, keep: bool = True, pieces: int = 1) -> None:
        """Go on to `end`, with or without what lies before it."""
        self.pieces += pieces
        if self.pieces > MAX_PIECES:
            raise InvalidInput(
                f"{self.label} is made of more than {MAX_PIECES:,} pieces, which no real image is; save it anew."
            )
        if keep:
            self.made += self.data[self.at : end]
        else:
            self.dropped = True
        self.at = end


def _of_png(cursor: _Cursor) -> None:
    data = cursor.data
    cursor.take(len(_PNG))
    texts = 0
    while cursor.at + 12 <= len(data):
        at = cursor.at
        length, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        end = at + 12 + length
        if end > len(data):
            return
        keep = not kind[0] & 0x20 or kind in _NEEDED  # those that a decoder may not pass over, too
        if not keep and texts < _MAX_TEXTS and _says_upright(kind, data[at + 8 : end - 4]):
            keep, texts = True, texts + 1
        cursor.take(end, keep)
        if kind == b"IEND":
            return


def _says_upright(kind: bytes, content: bytes) -> bool:
    """Whether a text may say which way up the image is, and is of a size that a reader takes."""
    if kind not in (b"tEXt", b"zTXt", b"iTXt") or not content.startswith(_UPRIGHT_TEXTS):
        return False
    if kind == b"tEXt":
        return len(content) <= _MAX_KEPT
    packed = content.split(b"\0", 1)[1]  # zTXt: method, data; iTXt: flag, method, language\0 keyword\0 data
    if kind == b"iTXt":
        if packed[:1] != b"\1":
            return len(content) <= _MAX_KEPT
        packed = b"\0" + packed[2:].split(b"\0", 2)[-1]
    try:
        return len(zlib.decompressobj().decompress(packed[1:], _MAX_KEPT)) < _MAX_KEPT
    except zlib.error:
        return False


def _of_jpeg(cursor: _Cursor) -> None:
    data, seen = cursor.data, dict.fromkeys(_JPEG_UPRIGHT, 0)
    cursor.take(2)
    marker = re.compile(rb"\xff+([^\xff])", re.DOTALL)
    while hit := marker.match(data, cursor.at):
        code = hit[1][0]
        if code in (0, _START_OF_SCAN):
            return
        if code in _WITHOUT_LENGTH:
            cursor.take(hit.end())
            continue
        end = hit.end() + int.from_bytes(data[hit.end() : hit.end() + 2])
        if not hit.end() + 2 <= end <= len(data):
            return
        text = 0xE0 <= code <= 0xEF or code == 0xFE
        head = next((h for h in _JPEG_UPRIGHT if code == 0xE1 and data.startswith(h, hit.end() + 2)), None)
        if head:
            seen[head] += 1
        cursor.take(end, not text or code in _JPEG_KEPT or (head is not None and seen[head] <= _MAX_TEXTS))


def _of_gif(cursor: _Cursor) -> None:
    data = cursor.data
    if len(data) < 13:
        return
    cursor.take(13 + (3 * 2 ** ((data[10] & 7) + 1) if data[10] & 0x80 else 0))
    while data[cursor.at : cursor.at + 1] == b"\x21":  # an extension before the first image
        keep = data[cursor.at + 1 : cursor.at + 2] == b"\xf9"  # how the image is drawn
        at, blocks = cursor.at + 2, 0
        while at < len(data) and data[at] and blocks <= _BLOCKS * MAX_PIECES:
            at, blocks = at + 1 + data[at], blocks + 1
        cursor.take(at + 1, keep, 1 + blocks // _BLOCKS)
