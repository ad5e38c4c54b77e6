"""Where the name of a level line stands in a plot of falling curves, so that it lies over none of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

_HEIGHT, _WIDTH = 0.1, 0.017  # of a name: of the axis's length, and of the plot's width a letter
_KEY_FROM = 0.55  # of the axis: above, at the right, stands the key


@dataclass(frozen=True)
class NamePlace:
    """Where the name of a line stands: at which of its ends, above or below it, and from where to where that is."""

    side: Literal["left", "right"]
    above: bool
    low: float
    high: float


def free_place(
    name: str, edge: float, curves: Sequence[np.ndarray], highest: float, taken: Sequence[NamePlace]
) -> NamePlace:
    """The first place for the name that no curve crosses and no other name has; the last one if there is none.

    edge: of the line. curves: over equal steps of the whole plot. highest: of the axis, which begins at 0.

    Curves fall: at the left they are mostly above the edge, at the right mostly below.
    """
    height = _HEIGHT * highest
    wanted: tuple[tuple[Literal["left", "right"], bool], ...] = (
        ("left", False), ("right", True), ("right", False), ("left", True)
    )  # fmt: skip
    place = NamePlace("left", True, edge, edge + height)
    for side, above in wanted:
        place = NamePlace(side, above, *((edge, edge + height) if above else (edge - height, edge)))
        if _is_free(place, len(name) * _WIDTH, curves, highest, taken):
            return place
    return place


def _is_free(
    place: NamePlace, width: float, curves: Sequence[np.ndarray], highest: float, taken: Sequence[NamePlace]
) -> bool:
    if place.low < 0 or (place.side == "right" and place.high > _KEY_FROM * highest):
        return False  # on the numbers of the axis below, or in the key
    if any(other.side == place.side and place.low < other.high and other.low < place.high for other in taken):
        return False
    for curve in curves:
        count = min(len(curve), 1 + math.ceil(width * len(curve)))
        over = curve[:count] if place.side == "left" else curve[-count:]
        if len(over) and over.min() < place.high and place.low < over.max():
            return False
    return True
