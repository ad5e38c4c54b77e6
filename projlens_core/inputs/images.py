"""Decode an untrusted image: to the RGB pixels that a viewer would show, or to one sentence that says why not."""

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from projlens_core.errors import InvalidInput, NotFound
from projlens_core.inputs.exif import orientation
from projlens_core.inputs.growth import check_growth
from projlens_core.inputs.jpeg import is_whole
from projlens_core.inputs.metadata import without_metadata
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.files import open_regular
from projlens_core.runtime.text import printable

MAX_PIXELS = 50_000_000  # of one image; 150 MB once decoded
MAX_BYTES = 64 * 2**20  # of one image file
MAX_FOLDER_PIXELS = 500_000_000  # of all images of one folder together, which stay in memory; 1.5 GB
FORMATS = "PNG, JPEG, WebP, GIF or BMP"
LABELS = "labels.csv"  # the answers that may lie beside the images of a folder

# Signature and its offset → reader. Only these readers ever see untrusted bytes: Pillow knows some forty formats, and
# the odd ones are where its holes were. Calling the reader, not Image.open, also leaves judging the size to us.
_READERS: tuple[tuple[bytes, int, Callable[[BytesIO], ImageFile]], ...] = (
    (b"\x89PNG\r\n\x1a\n", 0, PngImageFile),
    (b"\xff\xd8\xff", 0, JpegImageFile),
    (b"WEBP", 8, WebPImageFile),
    (b"GIF8", 0, GifImageFile),
    (b"BM", 0, BmpImageFile),
)

_UPRIGHT = {  # EXIF orientation → what turns the stored pixels upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class NamedImage:
    """One decoded image.

    pixels are RGB, upright as EXIF says, the first frame of an animation, transparency laid on white; colour profiles
    are left out of account, as image processors do. sha256 is over size and pixels, so that the same image under
    another name or in another format is the same content.
    """

    name: str
    pixels: Image.Image
    sha256: str


@dataclass(frozen=True)
class ImageSet:
    """The images of a folder by name, and what could not be read: (file name, the sentence that says why)."""

    images: tuple[NamedImage, ...]
    failures: tuple[tuple[str, str], ...]


def named_image(image: Image.Image, name: str) -> NamedImage:
    """An image that is already decoded, under a name; `name` is kept, unprintable characters escaped."""
    rgb = _on_white(image)
    return NamedImage(printable(name), rgb, content_key(*rgb.size, rgb.tobytes()))


def decode(data: bytes, name: str) -> NamedImage:
    """The image in `data`, the content of a file called `name`.

    Raises InvalidInput if it is not a PNG, JPEG, WebP, GIF or BMP image, is not whole, or is larger than MAX_BYTES
    or MAX_PIXELS; the size is read from the header, before any pixel is decoded. Metadata may be of any size and is not
    read, but for which way up the image is.
    """
    label = printable(name)
    if not data:
        raise InvalidInput(f"{label} is empty (0 bytes); give a {FORMATS} image.")
    if len(data) > MAX_BYTES:
        raise InvalidInput(_too_many_bytes(label, len(data)))
    reader = next((reader for mark, offset, reader in _READERS if data.startswith(mark, offset)), None)
    if reader is None:
        raise InvalidInput(f"{label} is not a {FORMATS} image; convert it to one of these.")
    data = without_metadata(data, label)
    try:
        check_growth(data, label, MAX_PIXELS)
        opened = reader(BytesIO(data))
        width, height = opened.size
        if width * height > MAX_PIXELS:
            raise InvalidInput(
                f"{label} has {width:,} × {height:,} pixels, more than the {MAX_PIXELS:,} that are read; scale it down."
            )
        opened.load()
        if reader is JpegImageFile and not is_whole(data, opened.tobytes()):
            raise InvalidInput(f"{label} is cut off, its lower part is missing; give the complete file.")
        return named_image(upright(opened), name)
    except (InvalidInput, MemoryError):
        raise
    except Exception as error:  # Pillow's readers raise whatever damaged data leads them to
        reason = str(error).strip(" .").splitlines()
        raise InvalidInput(
            f"{label} is cut off or damaged ({reason[0] if reason else type(error).__name__}); give the complete file."
        ) from error


def load(path: Path) -> NamedImage:
    """The image in the file `path`; as `decode`, and NotFound if there is no such file."""
    label = printable(path.name)
    try:
        with open_regular(path, f"{printable(str(path))} is not a file; give a {FORMATS} image.") as file:
            if file.size > MAX_BYTES:
                raise InvalidInput(_too_many_bytes(label, file.size))
            data = file.read()
    except OSError as error:
        raise InvalidInput(f"{label} cannot be read ({error.strerror}); check its permissions.") from error
    return decode(data, path.name)


def load_folder(folder: Path, limit: int | None = None) -> ImageSet:
    """The images in `folder`, sorted by file name, at most `limit` of them; subfolders are not entered.

    Every file counts as an image but labels.csv and hidden files, whatever it is called; one that cannot be read is
    listed under failures, and so is every one beyond MAX_FOLDER_PIXELS. Raises NotFound if there is no such folder,
    InvalidInput if it holds no readable image.
    """
    label = printable(str(folder))
    if not folder.is_dir():
        raise NotFound(f"{label} is not a folder; give a folder with {FORMATS} images.")
    if limit is not None and limit < 1:
        raise InvalidInput(f"At most {limit} images were asked for; ask for 1 or more.")
    files = sorted(
        entry
        for entry in folder.iterdir()
        if entry.is_file() and not entry.name.startswith(".") and entry.name != LABELS
    )
    if not files:
        raise InvalidInput(f"{label} has no images; put {FORMATS} files into it.")
    images: list[NamedImage] = []
    failures: list[tuple[str, str]] = []
    pixels = 0
    for path in files:
        if limit is not None and len(images) == limit:
            break
        try:
            if pixels > MAX_FOLDER_PIXELS:
                raise InvalidInput(
                    f"{printable(path.name)} was not read: the images before it already fill the "
                    f"{MAX_FOLDER_PIXELS:,} pixels kept in memory; scale them down or take fewer."
                )
            read = load(path)
        except (InvalidInput, NotFound) as error:
            failures.append((printable(path.name), str(error)))
        else:
            images.append(read)
            pixels += read.pixels.width * read.pixels.height
    if not images:
        raise InvalidInput(f"None of the {len(failures)} files in {label} is a readable image: {failures[0][1]}")
    return ImageSet(tuple(images), tuple(failures))


def _too_many_bytes(label: str, size: int) -> str:
    return f"{label} has {size / 2**20:,.0f} MiB, more than the {MAX_BYTES // 2**20} MiB that are read; scale it down."


def upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF orientation says.

    An EXIF block that cannot be parsed at all says nothing about orientation, so the pixels stay as stored.
    """
    taken = orientation(image.info)
    turn = None if taken is None else _UPRIGHT.get(taken)
    return image if turn is None else image.transpose(turn)


def _on_white(image: Image.Image) -> Image.Image:
    """Any Pillow mode → RGB, transparency laid on white, metadata left behind."""
    if image.mode.startswith("I"):
        image = _from_16_bit(image)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        rgb = Image.new("RGB", image.size, "white")
        rgb.paste(layer, mask=layer.getchannel("A"))
        return rgb
    rgb = image.convert("RGB")
    rgb.info = {}
    return rgb


def _from_16_bit(image: Image.Image) -> Image.Image:
    """16-bit grey → 8 bits, the high byte: Pillow does so for 16-bit colour but clips 16-bit grey to white."""
    values = np.asarray(image).astype(np.int64)  # (rows, columns)
    grey = Image.fromarray((values.clip(0, 65535) >> 8).astype(np.uint8))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey
