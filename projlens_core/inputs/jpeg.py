"""Whether a JPEG is whole: its decoder fills what is missing with grey and does not say so, so ProjLens looks first."""

import re

# A marker inside or between scans: 0xFF and a code that is neither a stuffed zero, a restart (D0–D7) nor a fill byte.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_END_OF_IMAGE = 0xD9
_START_OF_SCAN = 0xDA
_SEQUENTIAL = (0xC0, 0xC1)  # baseline and extended sequential frames, Huffman coded
_WITHOUT_LENGTH = (0x01, 0xD8)


def decodable_part(data: bytes) -> bytes | None:
    """The bytes to hand to the decoder so that missing picture data is an error, or None if the end marker is missing.

    A file that was cut off and closed with an end marker decodes "successfully", its lower part grey. Without the
    end marker the decoder asks for more data instead, and only a file whose pixels are all there can be read. That
    holds for one sequential scan; a progressive file needs its marker, so it is returned up to and including it.
    """
    position, scans, sequential = 2, 0, False
    while found := _MARKER.search(data, position):
        code = data[found.end() - 1]
        if code == _END_OF_IMAGE:
            return data[: found.start()] if sequential and scans == 1 else data[: found.end()]
        sequential = sequential or code in _SEQUENTIAL
        scans += code == _START_OF_SCAN
        length = 0 if code in _WITHOUT_LENGTH else int.from_bytes(data[found.end() : found.end() + 2])
        position = found.end() + length
    return None
