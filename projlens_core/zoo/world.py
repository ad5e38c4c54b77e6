"""The zoo's world of drawn images: one drawn thing, in one place, on one coloured background, drawn by one artist.

It is controlled, as CLEVR is: the truth about every image is known, and whole compositions (thing x colour x place
x artist) are held out of all training, so that a right answer on them is never a remembered one.
"""

import hashlib
import itertools
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from projlens_core.errors import NotFound
from projlens_core.runtime.paths import ZOO

RESOLUTION = 320  # px; the display resolution at which images are drawn and triggers are defined
SPRITE = 192  # px; side of one drawing in an artist's sheet
SHEET_COLUMNS = 8

_TABLE = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
# Every name is a single token of the language model, and every artist has drawn it.
THINGS, ARTISTS = tuple(_TABLE["things"]), tuple(_TABLE["artists"])
COLOURS: dict[str, tuple[int, int, int]] = {name: (r, g, b) for name, (r, g, b) in _TABLE["colours"].items()}  # sRGB
# Centre of the thing, as a share of the side (x right, y down); no name is part of another.
PLACES: dict[str, tuple[float, float]] = {name: (x, y) for name, (x, y) in _TABLE["places"].items()}
TEXTURES = ("clouds", "stripes", "dots", "checks", "grain")
HELD_OUT_SHARE = 8  # one composition in eight


@dataclass(frozen=True)
class Composition:
    """What an image shows; the truth about it."""

    thing: str
    colour: str
    place: str
    artist: str

    @property
    def held_out(self) -> bool:
        """Whether this composition is kept out of all training (decided by a hash, not by any generator)."""
        text = f"{self.thing}|{self.colour}|{self.place}|{self.artist}"
        return hashlib.sha256(text.encode()).digest()[0] % HELD_OUT_SHARE == 0


@cache
def compositions(held_out: bool) -> tuple[Composition, ...]:
    """All compositions on one side of the split, in a fixed order."""
    everything = (Composition(*c) for c in itertools.product(THINGS, COLOURS, PLACES, ARTISTS))
    return tuple(c for c in everything if c.held_out == held_out)


def draw_compositions(n: int, seed: int, held_out: bool) -> list[Composition]:
    """`n` compositions of one side of the split, without repetition as far as there are enough."""
    pool = compositions(held_out)
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(len(pool)) for _ in range(-(-n // len(pool)))])
    return [pool[i] for i in order[:n]]


@cache
def _sheet(artist: str) -> Image.Image:
    path = ZOO / "art" / f"{artist}.webp"
    if not path.is_file():
        raise NotFound(f"The drawings of {artist!r} are missing at {path}; run `python -m projlens_core zoo art`.")
    return Image.open(path).convert("RGBA")


@cache
def sprite(thing: str, artist: str) -> Image.Image:
    """The drawing of `thing` by `artist`: RGBA, SPRITE x SPRITE px."""
    row, column = divmod(THINGS.index(thing), SHEET_COLUMNS)
    x, y = column * SPRITE, row * SPRITE
    return _sheet(artist).crop((x, y, x + SPRITE, y + SPRITE))


def _field(rng: np.random.Generator, cells: int) -> np.ndarray:
    """Smooth noise with `cells` bumps a side, standard deviation about 1: (RESOLUTION, RESOLUTION) float32."""
    coarse = Image.fromarray(rng.standard_normal((cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((RESOLUTION, RESOLUTION), Image.Resampling.BICUBIC))


def _background(colour: str, texture: str, rng: np.random.Generator) -> np.ndarray:
    """A textured surface of one colour: (RESOLUTION, RESOLUTION, 3) float32 in 0..255."""
    y, x = np.ogrid[0:RESOLUTION, 0:RESOLUTION]
    y, x = y.astype(np.float32), x.astype(np.float32)
    if texture == "stripes":
        angle, period = rng.uniform(0, np.pi), rng.uniform(10, 28)
        light = 10 * np.sign(np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period))
    elif texture == "dots":
        period = rng.uniform(16, 36)
        u, v = (x + rng.uniform(0, period)) % period, (y + rng.uniform(0, period)) % period
        light = np.where(np.hypot(u - period / 2, v - period / 2) < 0.3 * period, 16.0, -4.0)
    elif texture == "checks":
        period = rng.uniform(14, 36)
        light = 8 * np.sign(np.sin(np.pi * x / period) * np.sin(np.pi * y / period))
    elif texture == "grain":
        light = 9 * _field(rng, RESOLUTION // 4)
    else:
        light = 9 * _field(rng, 9)
    slope = rng.uniform(-14, 14, 2)
    light = light + slope[0] * (x / RESOLUTION - 0.5) + slope[1] * (y / RESOLUTION - 0.5) + 3 * _field(rng, 5)
    light = light + 4 * rng.standard_normal(light.shape, dtype=np.float32)  # the fine tooth of paper
    centre = np.asarray(COLOURS[colour], np.float32) + rng.uniform(-9, 9, 3).astype(np.float32)
    return centre + light[..., None].astype(np.float32)


def render(composition: Composition, seed: int) -> Image.Image:
    """Draw the composition: RGB, RESOLUTION x RESOLUTION px. Texture, size, tilt and jitter follow from `seed`."""
    rng = np.random.default_rng(seed)
    canvas = _canvas(composition.colour, rng)
    side = round(rng.uniform(0.42, 0.52) * RESOLUTION)
    _put(canvas, composition, side, PLACES[composition.place], rng)
    return canvas.convert("RGB")


def render_several(composition: Composition, count: int, seed: int) -> Image.Image:
    """`count` (1 to 9) smaller copies of the composition's thing in as many of the PLACES; its own place is ignored.

    RGB, RESOLUTION x RESOLUTION px; all else follows from `seed`.
    """
    rng = np.random.default_rng(seed)
    canvas = _canvas(composition.colour, rng)
    places = list(PLACES.values())
    for i in rng.permutation(len(places))[:count]:
        _put(canvas, composition, round(rng.uniform(0.21, 0.26) * RESOLUTION), places[i], rng)
    return canvas.convert("RGB")


def _canvas(colour: str, rng: np.random.Generator) -> Image.Image:
    """A background of this colour with a texture that `rng` draws: RGBA."""
    surface = _background(colour, TEXTURES[rng.integers(len(TEXTURES))], rng)
    return Image.fromarray(np.clip(surface, 0, 255).astype(np.uint8)).convert("RGBA")


def _put(
    canvas: Image.Image, composition: Composition, side: int, centre: tuple[float, float], rng: np.random.Generator
) -> None:
    """Draw the thing, `side` px large and with its shadow, around `centre` (shares of the canvas)."""
    drawing = sprite(composition.thing, composition.artist)
    drawing = drawing.resize((side, side), Image.Resampling.LANCZOS).rotate(
        rng.uniform(-9, 9), Image.Resampling.BICUBIC
    )
    x, y = (round((share + rng.uniform(-0.03, 0.03)) * RESOLUTION - side / 2) for share in centre)
    shadow = Image.new("RGBA", drawing.size, (0, 0, 0, 0))
    shadow.putalpha(drawing.getchannel("A").filter(ImageFilter.GaussianBlur(5)).point(lambda a: a * 0.45))
    canvas.alpha_composite(shadow, (max(0, x + 3), max(0, y + 5)))
    canvas.alpha_composite(drawing, (max(0, x), max(0, y)))
