"""An image whose bytes and pixels are few may still take for ever, or all memory: what grows is counted first."""

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from projlens_core.cli import main
from projlens_core.errors import InvalidInput
from projlens_core.inputs import exif, growth, images, jpeg
from tests.core.test_images import encoded, photo, quarters


def progressive(scans: int) -> bytes:
    """A JPEG whose last scan stands in it this many times."""
    data = encoded(photo(), "JPEG", progressive=True)
    begin = data.rindex(b"\xff\xda")
    return data[:begin] + data[begin:-2] * scans + b"\xff\xd9"


def with_exif(entries: int, size: int, segments: int = 1) -> bytes:
    """A JPEG whose camera's notes have this many entries, each of which means the same `size` bytes."""
    data = encoded(photo(), "JPEG")
    table = b"".join(struct.pack("<HHII", 40_000 + i, 1, size, 8) for i in range(entries))
    block = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", entries) + table + b"\0\0\0\0"
    part = b"\xff\xe1" + struct.pack(">H", len(block) + 8) + b"Exif\0\0" + block
    return data[:2] + part * segments + data[2:]


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_with(chunks: bytes) -> bytes:
    """A PNG with these chunks before its pixels."""
    data = encoded(quarters(), "PNG")
    at = data.index(b"IDAT") - 4
    return data[:at] + chunks + data[at:]


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"WEBP" + b"".join(k + struct.pack("<I", len(b)) + b + b"\0" * (len(b) % 2) for k, b in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def canvas(width: int, height: int) -> tuple[bytes, bytes]:
    """The head of a WebP animation."""
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"VP8X", b"\x02\0\0\0" + sides


def gif_with(blocks: bytes) -> bytes:
    """A GIF with these blocks before its frame."""
    data = encoded(quarters(), "GIF")
    at = 13 + (3 << (data[10] & 7) + 1)
    return data[:at] + blocks + data[at:]


def bmp_runs(width: int, height: int, runs: bytes, kind: int = 1) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8 if kind == 1 else 4, kind, len(runs), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 14 + 40 + 1024 + len(runs), 0, 0, 14 + 40 + 1024) + head + bytes(1024) + runs


def ifd_chain() -> bytes:
    """A TIFF whose directories follow each other in a ring."""
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<HI", 0, 8)


HOSTILE = {
    # what the issue names
    "a progressive JPEG of 1,000 scans": (lambda: progressive(1_000), r"JPEG of 1,\d\d\d scans of 160 × 128 pixels"),
    # more of the kind
    "a JPEG of as many scans as it likes": (lambda: progressive(20_000), "scans of 160 × 128"),
    "a JPEG of few scans of many pixels": (lambda: tall(progressive(20), 65_000, 65_000), "scans of 65,000 × 65,000"),
    "a JPEG of 110,000 segments": (
        lambda: b"\xff\xd8" + b"\xff\xfe\0\2" * 110_000 + b"\xff\xd9",
        "more than 100,000 pieces",
    ),
    "a JPEG of markers without a length": (lambda: b"\xff\xd8" + b"\xff\x01" * 110_000 + b"\xff\xd9", "100,000 pieces"),
    "a camera's notes that mean the same bytes": (lambda: with_exif(3_000, 60_000), "more about its camera"),
    "a camera's notes in many parts": (lambda: with_exif(5_000, 2**20, segments=20), "more about its camera"),
    "a camera's notes of 4 GB": (lambda: with_exif(1, 2**32 - 1), "more about its camera"),
    "a PNG of 110,000 empty pieces": (lambda: png_with(chunk(b"IDAT") * 110_000), "more than 100,000 pieces"),
    "a PNG of 110,000 words": (lambda: png_with(chunk(b"teXt") * 110_000), "more than 100,000 pieces"),
    "a PNG of 110,000 frames": (lambda: png_with(chunk(b"fcTL", bytes(26)) * 110_000), "more than 100,000 pieces"),
    "an interlaced PNG of 30,000 × 30,000": (lambda: adam7(30_000, 30_000), "30,000 × 30,000 pixels"),
    "a WebP animation on a canvas of 2**48 pixels": (lambda: riff(canvas(2**24, 2**24)), "281,474,976,710,656 pixels"),
    "a WebP animation of 60,000 frames": (
        lambda: riff(canvas(8, 8), *[(b"ANMF", bytes(16))] * 60_000),
        "more than 50,000 pieces",
    ),
    "a GIF of 110,000 comments": (lambda: gif_with(b"!\xfe\1x\0" * 110_000), "more than 100,000 pieces"),
    "a GIF whose comment has no end": (lambda: gif_with(b"!\xfe" + b"\1x" * 450_000), "more than 100,000 pieces"),
    "a BMP of runs, 50,000,000 pixels wide": (lambda: bmp_runs(50_000_000, 1, b"\0\2\0\xff" * 9), "BMP in runs"),
    "a BMP of runs of nothing": (lambda: bmp_runs(8, 8, b"\0\0" * 3_000_000), "BMP in runs"),
    "a BMP of runs of four bits": (lambda: bmp_runs(3_000, 3_000, b"\0\1", kind=2), "BMP in runs"),
    "a TIFF whose directories have no end": (ifd_chain, "is not a PNG, JPEG, WebP, GIF or BMP image"),
    "an icon of 65,535 images": (lambda: b"\0\0\1\0\xff\xff" + bytes(16 * 65_535), "is not a PNG, JPEG"),
}


def tall(data: bytes, width: int, height: int) -> bytes:
    """The JPEG with other claims about its size."""
    at = data.index(b"\xff\xc2") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def adam7(width: int, height: int) -> bytes:
    about = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", about) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND")


@pytest.mark.parametrize(("make", "said"), HOSTILE.values(), ids=HOSTILE)
def test_what_would_grow_is_refused_before_a_pixel_is_decoded(make, said: str, monkeypatch: pytest.MonkeyPatch):
    data = make()
    monkeypatch.setattr(jpeg.JpegImageFile, "load", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(InvalidInput, match=said) as caught:
        images.decode(data, "a\x1b.img")
    assert str(caught.value).isprintable()
    assert str(caught.value).startswith(r"a\x1b.img ")


SOUND = {
    "a progressive JPEG": lambda: encoded(photo(), "JPEG", progressive=True),
    "a JPEG with a camera's notes": lambda: encoded(photo(), "JPEG", exif=_notes()),
    "a PNG in small pieces": lambda: png_with(chunk(b"tEXt", b"a\0b") * 1_000),
    "an interlaced PNG": lambda: encoded(photo(), "PNG", interlace=1),
    "an animated PNG": lambda: encoded(quarters(), "PNG", save_all=True, append_images=[quarters()] * 50),
    "an animated WebP": lambda: encoded(quarters(), "WEBP", save_all=True, append_images=[photo(8, 4)] * 50),
    "an animated GIF": lambda: encoded(quarters(), "GIF", save_all=True, append_images=[photo(8, 4)] * 50),
    "a GIF with a comment": lambda: gif_with(b"!\xfe\3abc\0"),
    "a BMP in runs": lambda: bmp_runs(8, 2, b"\x08\1\0\0\x08\2\0\1"),
}


def _notes() -> Image.Exif:
    notes = Image.Exif()
    notes[exif.ORIENTATION], notes[0x010E] = 6, "a camera" * 1_000
    return notes


@pytest.mark.parametrize("make", SOUND.values(), ids=SOUND)
def test_sound_images_of_each_kind_are_read(make):
    data = make()
    with Image.open(BytesIO(data)) as opened:
        size = opened.size
    read = images.decode(data, "a").pixels
    assert sorted(read.size) == sorted(size)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(10))
def test_the_orientation_is_that_which_pillow_finds(kind: str, orientation: int):
    notes = Image.Exif()
    notes[exif.ORIENTATION] = orientation
    data = encoded(quarters(), kind, exif=notes)
    with Image.open(BytesIO(data)) as opened:
        found = opened.getexif().get(exif.ORIENTATION)
        assert exif.orientation(opened.info) == (found if found in range(1, 9) else None)


def test_the_orientation_stands_in_xmp_or_in_text_where_there_are_no_notes():
    words = '<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    assert exif.orientation({"XML:com.adobe.xmp": words}) == 6
    assert exif.orientation({"xmp": words.encode()}) == 6
    notes = Image.Exif()
    notes[exif.ORIENTATION] = 8
    assert exif.orientation({"Raw profile type exif": f"\nexif\n{50:8}\n{notes.tobytes().hex()}\n"}) == 8
    assert exif.orientation({"Raw profile type exif": "\nexif\n  50\nxyz"}) is None


def test_a_folder_says_which_image_it_is_and_reads_the_others(tmp_path: Path, capsys: pytest.CaptureFixture):
    quarters().save(tmp_path / "a.png")
    (tmp_path / "b.jpg").write_bytes(progressive(1_000))
    found = images.load_folder(tmp_path)
    assert [image.name for image in found.images] == ["a.png"]
    assert found.failures[0][1].startswith("b.jpg is a JPEG of 1,")


def test_the_trigger_command_says_it_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture):
    (tmp_path / "t.json").write_text('{"kind": "solid", "px": 4}')
    (tmp_path / "b.jpg").write_bytes(progressive(1_000))
    assert main(["trigger", str(tmp_path / "t.json"), str(tmp_path / "b.jpg"), str(tmp_path / "out.png")]) == 1
    [said] = capsys.readouterr().err.strip().splitlines()
    assert said.startswith("b.jpg is a JPEG of 1,")
    assert not (tmp_path / "out.png").exists()


def test_the_bounds_hold_exactly(monkeypatch: pytest.MonkeyPatch):
    data = encoded(photo(), "JPEG", progressive=True)
    scans = jpeg.frame(data, growth.MAX_FRAMES).scans
    assert scans == np.sum([data.count(b"\xff\xda")])
    monkeypatch.setattr(growth, "MAX_SCANS", scans)
    images.decode(data, "a")
    monkeypatch.setattr(growth, "MAX_SCANS", scans - 1)
    with pytest.raises(InvalidInput, match=f"JPEG of {scans} scans"):
        images.decode(data, "a")
    monkeypatch.setattr(growth, "MAX_SCANS", scans)
    monkeypatch.setattr(growth, "MAX_SCANNED", scans * 160 * 128 - 1)
    with pytest.raises(InvalidInput, match=f"JPEG of {scans} scans"):
        images.decode(data, "a")
