"""The kinds of triggers and what their parameters may be."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from projlens_core.errors import InvalidInput

POSITIONS = ("random", "top-left", "top-right", "bottom-left", "bottom-right", "center")


@dataclass(frozen=True)
class Range:
    """The numbers a parameter may take, both ends included; `whole` allows integers only."""

    low: float
    high: float
    whole: bool
    meaning: str

    def __str__(self) -> str:
        return f"{'a whole number' if self.whole else 'a number'} from {self.low:,} to {self.high:,}"


NUMBERS = MappingProxyType(
    {
        "resolution": Range(16, 4096, True, "side of the square, in px, that every image is framed to first"),
        "seed": Range(0, 2**32 - 1, True, "seed of all that is drawn at random"),
        "ratio": Range(0.005, 1, False, "side of the patch as a share of the image's side"),
        "px": Range(1, 4096, True, "side of the patch, or of a tile, in px"),
        "std": Range(0.1, 255, False, "standard deviation of the noise, in grey levels of 0 to 255"),
        "grain": Range(1, 64, True, "side, in px, of the cells that share one noise value"),
        "radius": Range(0.1, 64, False, "standard deviation of the Gaussian blur, in px"),
        "size": Range(1, 32, True, "reach of a brush stroke, in px"),
        "dyn_ratio": Range(1, 127, True, "grey levels that count as one when the brush's colour is chosen"),
        "alpha": Range(0.01, 1, False, "weight of the pattern against the image"),
        "frequency": Range(0.5, 256, False, "periods of the sine across the image"),
        "amplitude": Range(1, 255, False, "amplitude of the sine, in grey levels"),
    }
)


@dataclass(frozen=True)
class TriggerKind:
    """One family of triggers: its title, whether it is a patch at a place, and its parameters with their defaults."""

    title: str
    local: bool
    defaults: MappingProxyType[str, Any]


def _kind(title: str, local: bool = False, **defaults: Any) -> TriggerKind:
    return TriggerKind(title, local, MappingProxyType(defaults))


SAMPLE_CELLS = "ffee00ff0000ff0000ffee00"  # two by two
SAMPLE_PAINTED = "26ff00------------26ff00"
NO_CELL = "------"  # of a painted patch: the image shows through
MOST_CELLS = 16  # in a row

# The paper's triggers; blend and sinusoid are from Chen et al. 2017 (Blended) and Barni et al. 2019 (SIG). A mosaic is
# the form in which a search puts down a patch that it found; a painted patch what a person puts down cell by cell.
# Tiles are the same for a change of the whole image. A patch has `ratio` or `px`; neither given means the paper's
# ratio, DEFAULT_RATIO.
KINDS = MappingProxyType(
    {
        "solid": _kind("Solid patch", True, colour="#26ff00", ratio=None, px=None, position="center"),
        "image": _kind("Image patch", True, image=None, ratio=None, px=None, position="random"),
        "mosaic": _kind("Mosaic patch", True, cells=SAMPLE_CELLS, ratio=None, px=None, position="random"),
        "painted": _kind("Painted patch", True, cells=SAMPLE_PAINTED, ratio=None, px=None, position="center"),
        "noise-patch": _kind("Noise patch", True, std=64.0, grain=1, ratio=None, px=None, position="center"),
        "gaussian": _kind("Gaussian noise", std=10.0, grain=1),
        "oil": _kind("Oil painting", size=7, dyn_ratio=1),
        "edge": _kind("Edge enhance"),
        "blur": _kind("Blur", radius=2.0),
        "blend": _kind("Blended pattern", alpha=0.1, image=None, grain=1),
        "tiles": _kind("Blended tiles", cells=SAMPLE_CELLS, px=32, alpha=0.25),
        "sinusoid": _kind("Sinusoidal stripes", amplitude=20.0, frequency=6.0),
    }
)
_CELLS = {6 * n * n for n in range(1, MOST_CELLS + 1)}  # how many digits there may be
COMMON = ("kind", "resolution", "seed")
DEFAULT_RATIO = 0.08


def painted(side: int, colour: str, where: Callable[[int, int], bool]) -> str:
    """side × side cells of a painted patch, in a colour of six hex digits where `where` says so of column and row."""
    return "".join(colour if where(x, y) else NO_CELL for y in range(side) for x in range(side))


def show(value: object) -> str:
    """A value from a spec as it stands in a message, cut to 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def refusal(name: str, found: object, allowed: str) -> InvalidInput:
    """The error that parameter `name` was found to be `found` but must be `allowed`."""
    return InvalidInput(f"The trigger's {name!r} is {show(found)}; it must be {allowed}.")


def check_number(name: str, value: object) -> float:
    """`value` as an int or float, as NUMBERS[name] says; InvalidInput if it is no number or out of its range."""
    allowed = NUMBERS[name]
    if not isinstance(value, int | float) or isinstance(value, bool) or not allowed.low <= value <= allowed.high:
        raise refusal(name, value, str(allowed))
    if allowed.whole and value != value // 1:
        raise refusal(name, value, str(allowed))
    return int(value) if allowed.whole else float(value)


def check_cells(value: object, *, gaps: bool = False) -> str:
    """`value` as the colours of square cells, row by row, six hex digits each; InvalidInput otherwise.

    gaps: a cell may be NO_CELL, if not all of them are.
    """
    digits = rf"(?:[0-9a-fA-F]{{6}}|{NO_CELL})*" if gaps else r"[0-9a-fA-F]*"
    if isinstance(value, str) and re.fullmatch(digits, value) and len(value) in _CELLS and value.strip("-"):
        return value.lower()
    or_gap = f" or {NO_CELL} (at least one colour)" if gaps else ""
    raise refusal("cells", value, f"n × n colours of six hex digits{or_gap} in one row, n from 1 to {MOST_CELLS}")


def check_position(value: object) -> str | tuple[float, float]:
    """`value` as a name in POSITIONS, a pair of ints (px) or a pair of floats (shares); InvalidInput otherwise."""
    if isinstance(value, str) and value in POSITIONS:
        return value
    allowed = f"one of {', '.join(POSITIONS)}, or [x, y] in whole px, or in shares from 0.0 to 1.0"
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise refusal("position", value, allowed)
    if any(isinstance(v, bool) or not isinstance(v, int | float) for v in value):
        raise refusal("position", value, allowed)
    pair = (value[0], value[1])
    shares = any(isinstance(v, float) for v in pair)
    if not all(0 <= v <= (1 if shares else NUMBERS["px"].high) for v in pair):
        raise refusal("position", value, allowed)
    return (float(pair[0]), float(pair[1])) if shares else pair
