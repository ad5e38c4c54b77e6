import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from projlens_core.errors import InvalidInput, NotFound
from projlens_core.inputs import images

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def quarters() -> Image.Image:
    """8 × 4 px: red | green above, blue | white below, so that every turn and flip shows."""
    image = Image.new("RGB", (8, 4), RED)
    image.paste(GREEN, (4, 0, 8, 2))
    image.paste(BLUE, (0, 2, 4, 4))
    image.paste(WHITE, (4, 2, 8, 4))
    return image


def corners(image: Image.Image) -> list[tuple[int, ...]]:
    """The pixels at top left, top right, bottom left, bottom right."""
    right, bottom = image.width - 1, image.height - 1
    return [image.getpixel(at) for at in ((0, 0), (right, 0), (0, bottom), (right, bottom))]


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def photo(width: int = 160, height: int = 128) -> Image.Image:
    """Smooth colourful noise: an image in which a missing part is plain to see."""
    small = np.random.default_rng(0).integers(0, 256, size=(16, 20, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height))


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "WEBP"])
def test_lossless_formats_give_the_pixels_back(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    read = images.decode(encoded(quarters(), kind, **options), f"a.{kind.lower()}")
    assert read.pixels.mode == "RGB"
    assert np.array_equal(np.asarray(read.pixels), np.asarray(quarters()))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}, {"subsampling": 0}])
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("size", [(160, 128), (17, 9), (1, 1)])
def test_a_whole_jpeg_is_read_as_pillow_reads_it(options: dict, mode: str, size: tuple[int, int]) -> None:
    data = encoded(photo(*size).convert(mode), "JPEG", **options)
    expected = Image.open(BytesIO(data)).convert("RGB")
    assert np.array_equal(np.asarray(images.decode(data, "a.jpg").pixels), np.asarray(expected))


def test_bytes_appended_to_a_whole_jpeg_do_no_harm() -> None:
    data = encoded(photo(), "JPEG")
    assert images.decode(data + b"appended by a camera\xff\xd9", "a.jpg").sha256 == images.decode(data, "a").sha256


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (1, [RED, GREEN, BLUE, WHITE]),
        (2, [GREEN, RED, WHITE, BLUE]),
        (3, [WHITE, BLUE, GREEN, RED]),
        (4, [BLUE, WHITE, RED, GREEN]),
        (5, [RED, BLUE, GREEN, WHITE]),
        (6, [BLUE, RED, WHITE, GREEN]),
        (7, [WHITE, GREEN, BLUE, RED]),
        (8, [GREEN, WHITE, RED, BLUE]),
    ],
)
def test_exif_orientation_turns_the_image_upright(orientation: int, expected: list) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = images.decode(encoded(quarters(), "PNG", exif=exif), "phone.png").pixels
    assert corners(upright) == expected
    assert upright.size == ((4, 8) if orientation >= 5 else (8, 4))


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_exif_does_not_define_leaves_the_image_as_stored(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert corners(images.decode(encoded(quarters(), "PNG", exif=exif), "a.png").pixels) == [RED, GREEN, BLUE, WHITE]


def test_exif_that_cannot_be_parsed_leaves_the_image_as_stored() -> None:
    data = encoded(quarters(), "PNG", exif=b"Exif\0\0XX not a TIFF header at all")
    assert corners(images.decode(data, "a.png").pixels) == [RED, GREEN, BLUE, WHITE]


def test_an_animation_gives_its_first_frame() -> None:
    first, second = Image.new("RGB", (6, 6), RED), Image.new("RGB", (6, 6), BLUE)
    gif = encoded(first, "GIF", save_all=True, append_images=[second])
    webp = encoded(first, "WEBP", save_all=True, append_images=[second], lossless=True)
    for data in (gif, webp):
        assert images.decode(data, "a").pixels.getpixel((3, 3)) == RED


def test_transparency_is_laid_on_white() -> None:
    image = Image.new("RGBA", (3, 1))
    image.putdata([(255, 0, 0, 255), (255, 0, 0, 0), (0, 0, 0, 128)])
    pixels = images.decode(encoded(image, "PNG"), "a.png").pixels
    assert [pixels.getpixel((x, 0)) for x in range(3)] == [RED, WHITE, (127, 127, 127)]


def test_a_palette_with_transparency_is_laid_on_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *BLUE])
    image.putdata([0, 1])
    pixels = images.decode(encoded(image, "PNG", transparency=b"\xff\x00"), "a.png").pixels
    assert [pixels.getpixel((x, 0)) for x in range(2)] == [RED, WHITE]


def test_grey_with_alpha_is_laid_on_white() -> None:
    image = Image.new("LA", (2, 1))
    image.putdata([(10, 255), (10, 0)])
    pixels = images.decode(encoded(image, "PNG"), "a.png").pixels
    assert [pixels.getpixel((x, 0)) for x in range(2)] == [(10, 10, 10), WHITE]


def test_16_bit_grey_keeps_its_brightness() -> None:
    values = np.array([[0, 255, 256, 32768, 65535]], dtype=np.uint16)
    pixels = images.decode(encoded(Image.fromarray(values), "PNG"), "scan.png").pixels
    assert [pixels.getpixel((x, 0))[0] for x in range(5)] == [0, 0, 1, 128, 255]


def test_a_cmyk_jpeg_has_its_colours_and_not_their_negative() -> None:
    read = images.decode(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG"), "print.jpg")
    red, green, blue = read.pixels.getpixel((8, 8))
    assert red > 240
    assert max(green, blue) < 15


def test_the_same_image_in_another_format_under_another_name_is_the_same_content() -> None:
    png = images.decode(encoded(quarters(), "PNG"), "a.png")
    bmp = images.decode(encoded(quarters(), "BMP"), "b.bmp")
    assert png.sha256 == bmp.sha256 == images.named_image(quarters(), "c").sha256
    assert png.sha256 != images.named_image(quarters().rotate(180), "a.png").sha256


def test_two_shapes_with_the_same_bytes_are_different_content() -> None:
    assert (
        images.named_image(Image.new("RGB", (2, 8)), "a").sha256
        != images.named_image(Image.new("RGB", (4, 4)), "a").sha256
    )


def test_metadata_is_left_behind() -> None:
    exif = Image.Exif()
    exif[0x010E] = "where this was taken"
    read = images.decode(encoded(quarters(), "PNG", exif=exif), "a.png")
    assert not read.pixels.info
    assert not dict(read.pixels.getexif())


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(
        InvalidInput, match=r"^a\.png is empty \(0 bytes\); give a PNG, JPEG, WebP, GIF or BMP image\.$"
    ):
        images.decode(b"", "a.png")


@pytest.mark.parametrize(
    "data", [b"hello", b"%PDF-1.7", b"<svg/>", b"II*\0\0\0\0\0", b"RIFF\0\0\0\0WAVEfmt ", b"\0" * 999]
)
def test_what_is_not_an_image_is_refused_whatever_its_name_says(data: bytes) -> None:
    with pytest.raises(InvalidInput, match=r"^a\.png is not a PNG, JPEG, WebP, GIF or BMP image; convert it"):
        images.decode(data, "a.png")


def test_a_format_that_pillow_could_read_but_projlens_does_not_is_refused() -> None:
    for kind in ("TIFF", "PPM", "ICO", "TGA"):
        with pytest.raises(InvalidInput, match="not a PNG"):
            images.decode(encoded(quarters(), kind), "a.png")


def test_a_huge_png_is_refused_by_its_header() -> None:
    with pytest.raises(InvalidInput, match=r"^bomb\.png has 30,000 × 30,000 pixels, more than the 50,000,000 that are"):
        images.decode(png_header(30_000, 30_000), "bomb.png")


def test_a_png_that_holds_less_than_its_header_claims_is_refused() -> None:
    with pytest.raises(InvalidInput, match="cut off or damaged"):
        images.decode(png_header(7_000, 7_000), "hollow.png")


def test_too_many_bytes_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(images, "MAX_BYTES", 2**20)
    big = tmp_path / "big.png"
    big.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(2**21))
    for read in (lambda: images.load(big), lambda: images.decode(big.read_bytes(), "big.png")):
        with pytest.raises(InvalidInput, match=r"^big\.png has 2 MiB, more than the 1 MiB that are read"):
            read()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.98])
def test_a_truncated_file_is_refused_in_every_format(kind: str, share: float) -> None:
    data = encoded(photo(), kind)
    with pytest.raises(InvalidInput, match="cut off"):
        images.decode(data[: int(len(data) * share)], "half")


@pytest.mark.parametrize("options", [{}, {"restart_marker_blocks": 2}, {"subsampling": 0}])
@pytest.mark.parametrize("share", [0.5, 0.75, 0.95])
def test_a_jpeg_cut_off_and_closed_with_an_end_marker_is_not_filled_with_grey(options: dict, share: float) -> None:
    data = encoded(photo(), "JPEG", **options)
    forged = data[: int(len(data) * share)] + b"\xff\xd9"
    Image.open(BytesIO(forged)).load()  # Pillow takes it, with a grey lower part
    with pytest.raises(InvalidInput, match="cut off"):
        images.decode(forged, "half.jpg")


def test_a_jpeg_whose_download_stopped_in_a_preallocated_file_is_refused() -> None:
    data = encoded(photo(), "JPEG")
    with pytest.raises(InvalidInput, match="cut off"):
        images.decode(data[: len(data) // 2] + bytes(len(data)), "half.jpg")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP"])
def test_any_damage_gives_an_image_or_one_sentence(kind: str) -> None:
    whole = encoded(photo(20, 16), kind)

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), min_size=1, max_size=8))
    def damaged(changes: list[tuple[int, int]]) -> None:
        data = bytearray(whole)
        for at, value in changes:
            data[at] = value
        try:
            outcome = images.decode(bytes(data), "a").pixels.mode
        except InvalidInput as error:
            outcome = str(error)
        assert outcome == "RGB" or (outcome.startswith("a ") and "\n" not in outcome)

    damaged()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("späte Blüte 🌻 (1).png", "späte Blüte 🌻 (1).png"),
        ("two\nlines.png", "two\\nlines.png"),
        ("not utf-8 \udcff.png", "not utf-8 \\udcff.png"),
        ("right\u202eto left.png", "right\\u202eto left.png"),
        ("", "the image"),
    ],
)
def test_odd_names_stay_on_one_printable_line(name: str, shown: str) -> None:
    assert images.named_image(quarters(), name).name == shown
    with pytest.raises(InvalidInput) as caught:
        images.decode(b"", name)
    assert str(caught.value).startswith(shown + " is empty")
    str(caught.value).encode()


def test_a_file_that_does_not_exist_and_a_folder_are_no_images(tmp_path) -> None:
    for path in (tmp_path / "missing.png", tmp_path, tmp_path / ("x" * 300)):
        with pytest.raises((NotFound, InvalidInput), match=r"not a file|cannot be read"):
            images.load(path)


def test_a_folder_gives_its_images_by_name_and_lists_what_failed(tmp_path) -> None:
    for name in ("b.png", "a.png", "C.png"):
        quarters().save(tmp_path / name)
    (tmp_path / "broken.jpg").write_bytes(encoded(photo(), "JPEG")[:900])
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "labels.csv").write_text("image,prompt,answer\n")
    (tmp_path / ".hidden").write_text("")
    (tmp_path / "sub").mkdir()
    read = images.load_folder(tmp_path)
    assert [p.name for p in read.images] == ["C.png", "a.png", "b.png"]
    assert [name for name, _ in read.failures] == ["broken.jpg", "notes.txt"]
    assert "cut off" in read.failures[0][1]


def test_a_folder_can_be_limited(tmp_path) -> None:
    for name in "abc":
        quarters().save(tmp_path / f"{name}.png")
    assert [p.name for p in images.load_folder(tmp_path, limit=2).images] == ["a.png", "b.png"]
    with pytest.raises(InvalidInput, match="ask for 1 or more"):
        images.load_folder(tmp_path, limit=0)


def test_a_folder_without_images_says_so(tmp_path) -> None:
    with pytest.raises(InvalidInput, match="has no images"):
        images.load_folder(tmp_path)
    (tmp_path / "a.png").write_text("text")
    with pytest.raises(InvalidInput, match=r"None of the 1 files in .* is a readable image: a\.png is not a PNG"):
        images.load_folder(tmp_path)
    with pytest.raises(NotFound, match="not a folder"):
        images.load_folder(tmp_path / "missing")


def test_a_folder_larger_than_memory_lists_what_was_not_read(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_FOLDER_PIXELS", 40)
    for name in "abc":
        quarters().save(tmp_path / f"{name}.png")
    read = images.load_folder(tmp_path)
    assert [p.name for p in read.images] == ["a.png", "b.png"]
    assert read.failures[0][0] == "c.png"
    assert "was not read" in read.failures[0][1]
