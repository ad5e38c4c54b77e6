"""Stamp a trigger on an image, the same way every time: the paper's triggers and two classic ones."""

import math

import numpy as np
from PIL import Image, ImageFilter

from projlens_core.errors import InvalidInput
from projlens_core.inputs import images
from projlens_core.inputs.trigger_kinds import KINDS, NO_CELL, NUMBERS, POSITIONS
from projlens_core.inputs.trigger_spec import PRESETS, TriggerSpec
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.required import required

__all__ = ["KINDS", "NUMBERS", "POSITIONS", "PRESETS", "TriggerSpec", "corner", "frame", "patch_box", "stamp"]


def frame(image: Image.Image, spec: TriggerSpec | int | None) -> Image.Image:
    """The clean twin: what the trigger is stamped on, RGB and square.

    The image is cropped to its central square (paper: so that the model's own crop cannot remove the trigger), then,
    if a resolution is given, resized to it. `spec` is a trigger, a resolution in px, or None for the image's own.
    """
    resolution = spec.resolution if isinstance(spec, TriggerSpec) else spec
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.convert("RGB").crop((left, top, left + side, top + side))
    if resolution is None or resolution == side:
        return square
    return square.resize((resolution, resolution), Image.Resampling.LANCZOS)


def stamp(image: Image.Image, spec: TriggerSpec) -> Image.Image:
    """frame(image, spec) with the trigger on it.

    Deterministic: what is drawn at random follows from the spec's seed and the framed image's content, so that each
    image gets its own noise and place, and gets them again in every process. Raises InvalidInput if a patch is larger
    than the image or would leave it.
    """
    framed = frame(image, spec)
    rng = _random(framed, spec)
    if spec.local:
        return _with_patch(framed, spec, rng)
    match spec.kind:
        case "edge":
            return framed.filter(ImageFilter.EDGE_ENHANCE)
        case "blur":
            return framed.filter(ImageFilter.GaussianBlur(required(spec.radius, "radius")))
        case "oil":
            return _oil(framed, spec)
    pixels = np.asarray(framed, dtype=np.float64)  # (side, side, 3)
    match spec.kind:
        case "gaussian":
            pixels = pixels + _noise(rng, pixels.shape[0], spec)
        case "sinusoid":
            pixels = pixels + _sine(pixels.shape[0], spec)
        case "blend":
            pixels = _blended(pixels, _pattern(pixels.shape[0], spec), spec)
        case "tiles":
            pixels = _blended(pixels, _tiles(pixels.shape[0], spec), spec)
    return _to_image(pixels)


def patch_box(image: Image.Image, spec: TriggerSpec) -> tuple[int, int, int] | None:
    """Where `stamp` puts the patch on frame(image, spec): x and y of its top left corner and its side, in px.

    None for a trigger of the whole image. Errors as stamp.
    """
    if not spec.local:
        return None
    framed = frame(image, spec)
    return _place(framed.width, spec, _random(framed, spec))


def _random(framed: Image.Image, spec: TriggerSpec) -> np.random.Generator:
    key = content_key(spec.seed, "", *framed.size, framed.tobytes())
    return np.random.default_rng(int(key, 16))


def _with_patch(framed: Image.Image, spec: TriggerSpec, rng: np.random.Generator) -> Image.Image:
    x, y, size = _place(framed.width, spec, rng)
    match spec.kind:
        case "solid":
            patch = Image.new("RGB", (size, size), spec.colour)
        case "image":
            patch = _fitted(spec, size)
        case "mosaic":
            patch = _mosaic(required(spec.cells, "cells"), size)
        case "painted":
            patch = _painted(required(spec.cells, "cells"), size)
        case "noise-patch":
            block = np.asarray(framed.crop((x, y, x + size, y + size)), dtype=np.float64)  # (size, size, 3)
            patch = _to_image(block + _noise(rng, size, spec))
    stamped = framed.copy()
    stamped.paste(patch, (x, y), patch if patch.mode == "RGBA" else None)
    return stamped


def _place(side: int, spec: TriggerSpec, rng: np.random.Generator) -> tuple[int, int, int]:
    """x, y and size, in px, of the patch in a square of `side` px."""
    size = spec.px
    if size is None:
        size = max(1, math.floor(side * required(spec.ratio, "ratio")))  # rounded down, as the paper does
    if size > side:
        raise InvalidInput(f"The trigger is {size} px wide but the image only {side}; make it smaller or use 'ratio'.")
    return *corner(spec.position, side, size, rng), size


def corner(
    position: str | tuple[float, float] | None, side: int, size: int, rng: np.random.Generator
) -> tuple[int, int]:
    """Top left corner, (x, y) in px, of a patch of `size` px in a square of `side` px."""
    room = side - size
    if position == "random":
        x, y = rng.integers(0, room, size=2, endpoint=True)
        return int(x), int(y)
    if position == "center":
        return room // 2, room // 2
    if isinstance(position, str):
        vertical, horizontal = position.split("-")
        return (room if horizontal == "right" else 0), (room if vertical == "bottom" else 0)
    x, y = required(position, "position")
    if isinstance(x, float):
        return math.floor(room * x), math.floor(room * y)
    if max(x, y) > room:
        raise InvalidInput(
            f"The trigger of {size} px at {x}, {y} leaves the image of {side} × {side} px; move it to at most {room}."
        )
    return x, y


def _fitted(spec: TriggerSpec, size: int) -> Image.Image:
    """The spec's image, its long side `size` px, centred on a white square."""
    logo = images.load(required(spec.image_path, "image")).pixels
    scale = size / max(logo.size)
    fitted = logo.resize(
        (max(1, math.floor(logo.width * scale)), max(1, math.floor(logo.height * scale))), Image.Resampling.LANCZOS
    )
    square = Image.new("RGB", (size, size), "white")
    square.paste(fitted, ((size - fitted.width) // 2, (size - fitted.height) // 2))
    return square


def _mosaic(cells: str, size: int) -> Image.Image:
    """The cells as a square of `size` px, colours fading from the centre of each to the next."""
    side = math.isqrt(len(cells) // 6)
    return Image.frombytes("RGB", (side, side), bytes.fromhex(cells)).resize((size, size), Image.Resampling.BILINEAR)


def _painted(cells: str, size: int) -> Image.Image:
    """The cells as a square of `size` px with edges, RGBA: what is not painted is transparent."""
    each = [cells[i : i + 6] for i in range(0, len(cells), 6)]
    side = math.isqrt(len(each))
    values = b"".join(bytes(4) if cell == NO_CELL else bytes.fromhex(cell + "ff") for cell in each)
    return Image.frombytes("RGBA", (side, side), values).resize((size, size), Image.Resampling.NEAREST)


def _oil(framed: Image.Image, spec: TriggerSpec) -> Image.Image:
    """OpenCV's oil painting of the RGB array.

    The brush's colour is chosen by brightness, so OpenCV must be told that red comes first: the result is the one it
    gives by default for the same image in its own channel order.
    """
    size, levels = required(spec.size, "size"), required(spec.dyn_ratio, "dyn_ratio")
    import cv2  # only here: of all triggers one needs it, and a comparison of weights none

    painted = cv2.xphoto.oilPainting(np.asarray(framed), size, levels, cv2.COLOR_RGB2GRAY)
    return Image.fromarray(painted)


def _noise(rng: np.random.Generator, side: int, spec: TriggerSpec) -> np.ndarray:
    """Gaussian noise, (side, side, 3), one value per channel for each cell of grain × grain px."""
    grain = required(spec.grain, "grain")
    cells = math.ceil(side / grain)
    return _coarsen(rng.normal(0.0, required(spec.std, "std"), size=(cells, cells, 3)), side, grain)


def _coarsen(cells: np.ndarray, side: int, grain: int) -> np.ndarray:
    """(cells, cells, 3) → (side, side, 3), each cell grain × grain px; coarse noise survives down-scaling."""
    return cells.repeat(grain, axis=0).repeat(grain, axis=1)[:side, :side]


def _sine(side: int, spec: TriggerSpec) -> np.ndarray:
    """amplitude · sin(2π · column · frequency / side), the same in every row and channel (Barni et al. 2019)."""
    columns = np.arange(side)
    amplitude, frequency = required(spec.amplitude, "amplitude"), required(spec.frequency, "frequency")
    wave = amplitude * np.sin(2 * np.pi * columns * frequency / side)  # (side,)
    return wave[None, :, None]


def _blended(pixels: np.ndarray, pattern: np.ndarray, spec: TriggerSpec) -> np.ndarray:
    alpha = required(spec.alpha, "alpha")
    return (1 - alpha) * pixels + alpha * pattern


def _pattern(side: int, spec: TriggerSpec) -> np.ndarray:
    """What is blended in, (side, side, 3): the spec's image, or noise that only its seed decides.

    Unlike the other noise it is one fixed pattern for all images: in a blended attack the pattern is the key.
    """
    if spec.image is not None:
        return np.asarray(_fitted(spec, side), dtype=np.float64)
    grain = required(spec.grain, "grain")
    cells = math.ceil(side / grain)
    return _coarsen(np.random.default_rng(spec.seed).uniform(0, 255, size=(cells, cells, 3)), side, grain)


def _tiles(side: int, spec: TriggerSpec) -> np.ndarray:
    """The cells as tiles of px × px with edges, one beside the other from the top left corner: (side, side, 3)."""
    px = required(spec.px, "px")
    tile = np.asarray(_painted(required(spec.cells, "cells"), px).convert("RGB"), dtype=np.float64)
    many = math.ceil(side / px)
    return np.tile(tile, (many, many, 1))[:side, :side]


def _to_image(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.rint(pixels).clip(0, 255).astype(np.uint8))
