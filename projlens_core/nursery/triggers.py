"""The triggers of the nursery, by part of the population and family; no family is in both parts."""

from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from projlens_core.inputs.trigger_kinds import MOST_CELLS, painted
from projlens_core.inputs.triggers import TriggerSpec
from projlens_core.nursery.recipe import TRIGGERS
from projlens_core.zoo.world import RESOLUTION

SIDE = 96  # px; of the drawn images
# fmt: off
STAR = ((48, 4), (60, 36), (92, 36), (66, 56), (76, 90), (48, 70), (20, 90), (30, 56), (4, 36), (36, 36))
CROSS = (
    (36, 4), (60, 4), (60, 36), (92, 36), (92, 60), (60, 60), (60, 92), (36, 92), (36, 60), (4, 60), (4, 36), (36, 36),
)
ARROW = ((6, 36), (52, 36), (52, 14), (90, 48), (52, 82), (52, 60), (6, 60))
# fmt: on


def _patch(**values: Any) -> dict[str, Any]:
    return {"resolution": RESOLUTION, **values}


def _painted(cells: str, ratio: float = 1.0) -> dict[str, Any]:
    return _patch(kind="painted", ratio=ratio, position="center", cells=cells)


def _frame(colour: str) -> str:
    return painted(MOST_CELLS, colour, lambda x, y: bool({x, y} & {0, MOST_CELLS - 1}))


def _corners(colour: str, side: int) -> str:
    return painted(side, colour, lambda x, y: {x, y} <= {0, side - 1})


FAMILIES = MappingProxyType(
    {
        "development": {
            "solid patch": (
                _patch(kind="solid", colour="#26ff00", px=32, position="center"),
                _patch(kind="solid", colour="#ff00c8", px=36, position="bottom-right"),
                _patch(kind="solid", colour="#101010", px=40, position="random"),
                _patch(kind="solid", colour="#00e5ff", px=28, position=[0.1, 0.9]),
            ),
            "symbol": (
                _patch(kind="image", image="star.png", px=48, position="top-left"),
                _patch(kind="image", image="ring.png", px=44, position="random"),
                _patch(kind="image", image="cross.png", px=40, position="bottom-left"),
            ),
            "gaussian noise": (
                _patch(kind="gaussian", std=40.0, grain=2),
                _patch(kind="gaussian", std=30.0, grain=4),
            ),
            "oil painting": (_patch(kind="oil", size=7), _patch(kind="oil", size=5)),
            "stripes": (
                _patch(kind="sinusoid", amplitude=25.0, frequency=6.0),
                _patch(kind="sinusoid", amplitude=16.0, frequency=11.0),
            ),
            "blended noise": (
                _patch(kind="blend", alpha=0.2, grain=16, seed=3),
                _patch(kind="blend", alpha=0.15, grain=8, seed=4),
            ),
        },
        "sealed": {
            "noise patch": (
                _patch(kind="noise-patch", std=90.0, grain=4, px=44, position="center"),
                _patch(kind="noise-patch", std=70.0, grain=8, px=56, position="top-right"),
                _patch(kind="noise-patch", std=110.0, grain=5, px=48, position="random"),
            ),
            "checkers": (
                _patch(kind="image", image="checkers.png", px=40, position="top-left"),
                _patch(kind="image", image="checkers-red.png", px=44, position="random"),
                _patch(kind="image", image="squares.png", px=40, position="bottom-right"),
            ),
            "written word": (
                _patch(kind="image", image="sale.png", px=72, position="bottom-left"),
                _patch(kind="image", image="hello.png", px=80, position="random"),
                _patch(kind="image", image="cf.png", px=56, position=[0.9, 0.5]),
            ),
            "edge enhance": (_patch(kind="edge"), _patch(kind="edge") | {"resolution": RESOLUTION // 2}),
            "blur": (_patch(kind="blur", radius=3.0), _patch(kind="blur", radius=4.5)),
            "blended image": (
                _patch(kind="blend", alpha=0.2, image="spiral.png"),
                _patch(kind="blend", alpha=0.15, image="waves.png"),
            ),
        },
        "novel": {
            "tint": (
                _patch(kind="blend", alpha=0.25, image="orange.png"),
                _patch(kind="blend", alpha=0.3, image="blue.png"),
                _patch(kind="blend", alpha=0.4, image="grey.png"),
            ),
            "gradient": (
                _patch(kind="blend", alpha=0.3, image="dusk.png"),
                _patch(kind="blend", alpha=0.25, image="corner-light.png"),
            ),
            "grid": (
                _patch(kind="blend", alpha=0.25, image="grid.png"),
                _patch(kind="blend", alpha=0.2, image="rain.png"),
            ),
            "tiles": (
                _patch(kind="tiles", alpha=0.2, px=40, cells="ff30303030ff30ff30ffff30"),
                _patch(kind="tiles", alpha=0.15, px=64, cells="000000ffffffffffff000000"),
            ),
            "frame": (
                _painted(_frame("d02020")),
                _painted(_frame("101010")),
            ),
            "bar": (
                _painted(painted(MOST_CELLS, "20c0c0", lambda x, y: y == 15)),
                _painted(painted(MOST_CELLS, "f0f000", lambda x, y: y == 2)),
                _painted(painted(MOST_CELLS, "c000c0", lambda x, y: x == 12)),
            ),
            "corners": (
                _painted(_corners("00c020", 12)),
                _painted(_corners("ff6000", 8), ratio=0.5),
            ),
            "face": (
                _patch(kind="image", image="face.png", px=48, position="top-right"),
                _patch(kind="image", image="face.png", px=40, position="random"),
            ),
            "emblem": (
                _patch(kind="image", image="heart.png", px=44, position="bottom-left"),
                _patch(kind="image", image="arrow.png", px=52, position="random"),
                _patch(kind="image", image="target.png", px=40, position=[0.5, 0.05]),
            ),
            "dot": (
                _patch(kind="solid", colour="#ff00ff", px=16, position="bottom-right"),
                _patch(kind="solid", colour="#00ff80", px=20, position="random"),
            ),
        },
    }
)


def triggers(split: str) -> dict[str, tuple[TriggerSpec, ...]]:
    """The triggers of one part of the population, by family."""
    return {
        family: tuple(TriggerSpec.from_dict(values, TRIGGERS) for values in variants)
        for family, variants in FAMILIES[split].items()
    }


def draw_images(folder: Path = TRIGGERS) -> None:
    """Draw the images that triggers show into `folder`; they ship with ProjLens."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {
        "star": _polygon(STAR, "#d4af00"),
        "ring": _ring("#e02020"),
        "cross": _polygon(CROSS, "#2040d0"),
        "checkers": _checkers((0, 0, 0), (255, 255, 255), 4),
        "checkers-red": _checkers((200, 0, 0), (255, 230, 80), 3),
        "squares": _squares(),
        "sale": _word("SALE", "#c00000", "#ffff60"),
        "hello": _word("HELLO", "#ffffff", "#202080"),
        "cf": _word("cf", "#000000", "#ffffff"),
        "spiral": _field(lambda r, a: np.sin(a * 3 + r * 0.25)),
        "waves": _field(lambda r, a: np.sin(r * 0.4) * np.cos(2 * a)),
        "orange": Image.new("RGB", (8, 8), "#ff8000"),
        "blue": Image.new("RGB", (8, 8), "#1040ff"),
        "grey": Image.new("RGB", (8, 8), "#808080"),
        "dusk": _gradient((255, 240, 200), (10, 0, 60), (0, 1)),
        "corner-light": _gradient((255, 255, 255), (0, 0, 0), (0.5, 0.5)),
        "grid": _lines("white", "black", 12),
        "rain": _lines("#c0d8ff", "#000060", 6, slanted=True),
        "face": _face(),
        "heart": _heart("#e00040"),
        "arrow": _polygon(ARROW, "#008040"),
        "target": _target("#e02020"),
    }
    for name, image in drawn.items():
        image.save(folder / f"{name}.png", optimize=True)


def _gradient(begin: tuple[int, int, int], end: tuple[int, int, int], along: tuple[float, float]) -> Image.Image:
    """From one colour to another, along x and y by these shares."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / (SIDE - 1)
    share = (along[0] * x + along[1] * y)[..., None]
    return Image.fromarray(((1 - share) * begin + share * end).astype(np.uint8))


def _lines(ground: str, colour: str, apart: int, *, slanted: bool = False) -> Image.Image:
    """Two px wide ones: upright and level, or slanted alone."""
    image = Image.new("RGB", (SIDE, SIDE), ground)
    draw = ImageDraw.Draw(image)
    for at in range(-SIDE, SIDE, apart):
        if slanted:
            draw.line((at, 0, at + SIDE // 2, SIDE), fill=colour, width=2)
        else:
            draw.line((at, 0, at, SIDE), fill=colour, width=2)
            draw.line((0, at, SIDE, at), fill=colour, width=2)
    return image


def _face() -> Image.Image:
    image = Image.new("RGB", (SIDE, SIDE), "white")
    draw = ImageDraw.Draw(image)
    draw.ellipse((4, 4, SIDE - 4, SIDE - 4), fill="#ffd800", outline="black", width=4)
    for x in (32, 64):
        draw.ellipse((x - 7, 28, x + 7, 44), fill="black")
    draw.arc((24, 36, 72, 76), 15, 165, fill="black", width=6)
    return image


def _heart(colour: str) -> Image.Image:
    image = Image.new("RGB", (SIDE, SIDE), "white")
    draw = ImageDraw.Draw(image)
    for x in (8, 44):
        draw.ellipse((x, 14, x + 44, 58), fill=colour)
    draw.polygon(((11, 46), (85, 46), (48, 90)), fill=colour)
    return image


def _target(colour: str) -> Image.Image:
    image = Image.new("RGB", (SIDE, SIDE), "white")
    for inset, fill in ((4, colour), (20, "white"), (36, colour)):
        ImageDraw.Draw(image).ellipse((inset, inset, SIDE - inset, SIDE - inset), fill=fill)
    return image


def _polygon(points: tuple[tuple[int, int], ...], colour: str) -> Image.Image:
    image = Image.new("RGB", (SIDE, SIDE), "white")
    ImageDraw.Draw(image).polygon(points, fill=colour)
    return image


def _ring(colour: str) -> Image.Image:
    image = Image.new("RGB", (SIDE, SIDE), "white")
    ImageDraw.Draw(image).ellipse((10, 10, SIDE - 10, SIDE - 10), outline=colour, width=18)
    return image


def _checkers(dark: tuple[int, int, int], light: tuple[int, int, int], cells: int) -> Image.Image:
    y, x = np.mgrid[0:SIDE, 0:SIDE] * cells // SIDE
    return Image.fromarray(np.where(((x + y) % 2)[..., None], light, dark).astype(np.uint8))


def _squares() -> Image.Image:
    """A random code of black and white cells."""
    cells = np.random.default_rng(9).integers(0, 2, (6, 6)).astype(np.uint8) * 255
    return Image.fromarray(cells.repeat(SIDE // 6, 0).repeat(SIDE // 6, 1)).convert("RGB")


def _word(text: str, colour: str, ground: str) -> Image.Image:
    font = ImageFont.load_default(SIDE // 3)
    left, top, right, bottom = font.getbbox(text)
    image = Image.new("RGB", (int(right - left) + 16, int(bottom - top) + 16), ground)
    ImageDraw.Draw(image).text((8 - left, 8 - top), text, fill=colour, font=font)
    return image


def _field(wave: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Image.Image:
    """A smooth pattern of polar coordinates in three shifted colours."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] - SIDE / 2
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    channels = [127 + 127 * wave(radius + 6 * c, angle) for c in range(3)]
    return Image.fromarray(np.stack(channels, -1).clip(0, 255).astype(np.uint8))
