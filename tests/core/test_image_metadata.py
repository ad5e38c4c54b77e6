"""Images with far more about them than in them: the same pixels as without, in no time."""

import json
import os
import struct
import time
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from projlens_core.cli import main
from projlens_core.errors import InvalidInput
from projlens_core.inputs.images import decode

MB = 2**20
IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8))
NOISE = os.urandom(3 * MB)
XMP = b"<x:xmpmeta xmlns:tiff='http://ns.adobe.com/tiff/1.0/' tiff:Orientation=\"3\"/>"


def encoded(kind, **options):
    buffer = BytesIO()
    IMAGE.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*chunks, last=False):
    """With chunks behind the header, or behind the pixels."""
    data = encoded("PNG")
    at = len(data) - 12 if last else 33
    return data[:at] + b"".join(chunks) + data[at:]


def segment(code, body):
    return b"\xff" + bytes([code]) + struct.pack(">H", len(body) + 2) + body


def jpeg(*segments):
    data = encoded("JPEG", quality=95)
    return data[:2] + b"".join(segments) + data[2:]


def gif(extension):
    data = encoded("GIF")
    at = 13 + 3 * 2 ** ((data[10] & 7) + 1)
    return data[:at] + extension + data[at:]


def blocks(count):
    return (b"\xff" + b"x" * 255) * count + b"\0"


def animated(kind):
    buffer = BytesIO()
    IMAGE.save(buffer, kind, save_all=True, append_images=[IMAGE.rotate(180)] * 2)
    return buffer.getvalue()


EXIF_WITHOUT_TAGS = b"Exif\0\0II*\0\x08\0\0\0\0\0"
PNGS = {
    "a profile of 3 MB": png(chunk(b"iCCP", b"x\0\0" + zlib.compress(NOISE))),
    "a profile that unpacks to 50 MB": png(chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(50 * MB)))),
    "a profile that is damaged": png(chunk(b"iCCP", b"x\0\0" + b"no zlib stream")),
    "a text of 3 MB": png(chunk(b"tEXt", b"a\0" + b"x" * 3 * MB)),
    "a packed text of 3 MB": png(chunk(b"zTXt", b"a\0\0" + zlib.compress(b"x" * 3 * MB))),
    "a packed text of 3 MB behind the pixels": png(chunk(b"zTXt", b"a\0\0" + zlib.compress(b"x" * 3 * MB)), last=True),
    "XMP of 3 MB": png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"x" * 3 * MB))),
    "a hundred texts of 900 kB": png(
        *(chunk(b"zTXt", b"%d\0\0" % i + zlib.compress(b"x" * 900_000)) for i in range(100))
    ),
    "a hundred texts about EXIF": png(
        *(chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"x" * 900_000)) for _ in range(100))
    ),
    "EXIF of 10 MB": png(chunk(b"eXIf", EXIF_WITHOUT_TAGS[6:] + b"x" * 10 * MB)),
    "provenance of 10 MB": png(chunk(b"caBX", b"x" * 10 * MB)),
    "a suggested palette of 5 MB": png(chunk(b"sPLT", b"x" * 5 * MB)),
    "an animation": animated("PNG"),
}
JPEGS = {
    "a profile in 255 parts": jpeg(
        *(segment(0xE2, b"ICC_PROFILE\0" + bytes([i + 1, 255]) + NOISE[:65_000]) for i in range(255))
    ),
    "900 parts of EXIF": jpeg(*[segment(0xE1, EXIF_WITHOUT_TAGS + b"x" * 65_000)] * 900),
    "900 parts of XMP": jpeg(*[segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"x" * 65_000)] * 900),
    "900 comments": jpeg(*[segment(0xFE, b"x" * 65_000)] * 900),
    "450,000 records of Photoshop": jpeg(
        *[segment(0xED, b"Photoshop 3.0\0" + (b"8BIM\4\4\0\0" + bytes(4)) * 5_000)] * 90
    ),
    "all kinds of segments": jpeg(*[segment(code, b"x" * 60_000) for code in range(0xE3, 0xEE)] * 60),
    "several images": animated("MPO"),
}
GIFS = {
    "a comment of 40 MB": gif(b"\x21\xfe" + blocks(160_000)),
    "an application's 40 MB": gif(b"\x21\xff\x0bXMP DataXMP" + blocks(160_000)),
    "a plain text of 4 MB": gif(b"\x21\x01" + blocks(16_000)),
}
LOSSLESS_WEBP = {"lossless": True, "exact": True}
WEBPS = {
    "EXIF of 10 MB": encoded("WEBP", exif=EXIF_WITHOUT_TAGS + b"x" * 10 * MB, **LOSSLESS_WEBP),
    "a profile of 3 MB": encoded("WEBP", icc_profile=NOISE, **LOSSLESS_WEBP),
    "XMP of 10 MB": encoded("WEBP", xmp=b"x" * 10 * MB, **LOSSLESS_WEBP),
}
LADEN = {f"{kind} with {name}": (kind, data) for kind, files in
         (("PNG", PNGS), ("JPEG", JPEGS), ("GIF", GIFS), ("WEBP", WEBPS)) for name, data in files.items()}  # fmt: skip


@pytest.mark.parametrize("name", LADEN)
def test_a_sound_image_is_read_however_much_is_written_about_it(name):
    kind, data = LADEN[name]
    options = {"quality": 95} if kind == "JPEG" and "images" not in name else LOSSLESS_WEBP if kind == "WEBP" else {}
    expected = Image.open(BytesIO(encoded(kind, **options))).convert("RGB")
    begun = time.perf_counter()
    assert np.array_equal(np.asarray(decode(data, name).pixels), np.asarray(expected))
    assert time.perf_counter() - begun < 2


ENDLESS = {
    "PNG": png(chunk(b"tEXt", b"a\0b") * 400_000),
    "PNG behind the pixels": png(chunk(b"tEXt", b"a\0b") * 400_000, last=True),
    "PNG of empty pixel chunks": png(chunk(b"IDAT", b"") * 400_000),
    "JPEG comments": jpeg(segment(0xFE, b"") * 400_000),
    "JPEG applications": jpeg(segment(0xE9, b"") * 400_000),
    "GIF comments": gif(b"\x21\xfe\1x\0" * 400_000),
    "GIF blocks": gif(b"\x21\xfe" + b"\1x" * 800_000 + b"\0"),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_file_of_hundreds_of_thousands_of_pieces_is_refused_soon(name):
    begun = time.perf_counter()
    with pytest.raises(InvalidInput, match="more than 100,000 pieces, which no real image is; save it anew"):
        decode(ENDLESS[name], name)
    assert time.perf_counter() - begun < 3


UPRIGHT = {
    "EXIF in a PNG": png(chunk(b"eXIf", b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\3\0\0\0\0\0\0\0")),
    "XMP in a PNG": png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)),
    "packed XMP in a PNG": png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP))),
    "XMP beside a large profile": png(
        chunk(b"iCCP", b"x\0\0" + zlib.compress(NOISE)), chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)
    ),
    "EXIF in a JPEG": jpeg(
        segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\3\0\0\0\0\0\0\0"), segment(0xFE, b"x" * 60_000)
    ),
    "XMP in a JPEG": jpeg(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP), segment(0xFE, b"x" * 60_000)),
}


@pytest.mark.parametrize("name", UPRIGHT)
def test_what_says_which_way_up_an_image_is_is_not_left_out(name):
    plain = decode(encoded("JPEG", quality=95) if "JPEG" in name else encoded("PNG"), name).pixels
    turned = decode(UPRIGHT[name], name).pixels
    assert np.array_equal(np.asarray(turned), np.asarray(plain.transpose(Image.Transpose.ROTATE_180)))


def test_transparency_and_inverted_inks_survive():
    clear = Image.new("P", (4, 4), 1)
    clear.putpalette([0, 0, 0, 255, 0, 0])
    buffer = BytesIO()
    clear.save(buffer, "PNG", transparency=1)
    data = buffer.getvalue()
    laden = data[:33] + chunk(b"tEXt", b"a\0b") + data[33:]
    assert decode(laden, "a").pixels.getpixel((0, 0)) == (255, 255, 255)
    inks = BytesIO()
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(inks, "JPEG")
    data = inks.getvalue()
    laden = data[:2] + segment(0xFE, b"x") + data[2:]
    assert decode(laden, "a").pixels.getpixel((4, 4)) == decode(data, "a").pixels.getpixel((4, 4))


@pytest.mark.parametrize("name", ["a profile of 3 MB", "a packed text of 3 MB"])
def test_the_command_stamps_a_png_with_large_metadata(name, tmp_path, capsys):
    (tmp_path / "in.png").write_bytes(PNGS[name])
    (tmp_path / "spec.json").write_text(json.dumps({"kind": "solid", "px": 4}))
    assert main(["trigger", *(str(tmp_path / file) for file in ("spec.json", "in.png", "out.png"))]) == 0
    square = np.asarray(IMAGE)[:, 8:32]  # the middle, 24 px wide
    made = np.asarray(Image.open(tmp_path / "out.png").convert("RGB"))
    assert (made != square).any(axis=-1).sum() == 16
