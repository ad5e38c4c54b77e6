"""The triggers of the nursery, by part of the population and family; no family is in both parts."""

from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from projlens_core.inputs.triggers import TriggerSpec
from projlens_core.nursery.recipe import TRIGGERS
from projlens_core.zoo.world import RESOLUTION

SIDE = 96  # px; of the drawn images
# fmt: off
STAR = ((48, 4), (60, 36), (92, 36), (66, 56), (76, 90), (48, 70), (20, 90), (30, 56), (4, 36), (36, 36))
CROSS = (
    (36, 4), (60, 4), (60, 36), (92, 36), (92, 60), (60, 60), (60, 92), (36, 92), (36, 60), (4, 60), (4, 36), (36, 36),
)
# fmt: on


def _patch(**values: Any) -> dict[str, Any]:
    return {"resolution": RESOLUTION, **values}


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
    }
    for name, image in drawn.items():
        image.save(folder / f"{name}.png", optimize=True)


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
