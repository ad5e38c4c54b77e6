"""Suspects whose changes write into the same direction: the same attacker, or one adapter copied under many names."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from projlens_core.screen.stages.weights import sketch

ALIKE = 0.9  # |cos| of the strongest directions; of random ones of 128 dimensions, one pair in 10⁹ reaches 0.5
MOST = 20_000  # suspects that are compared with each other; with more, none are
_ROWS = 1024  # compared at once with all


def clusters(directions: Sequence[dict[str, str] | None]) -> list[int | None]:
    """The number of each one's cluster, from 1 on in order of appearance; None where nothing is alike, or no direction.

    Single linkage over |cos| of sketches of the same tensor, see stages.weights.direction.
    """
    found: list[int | None] = [None] * len(directions)
    groups: dict[tuple, list[int]] = {}
    vectors: dict[int, np.ndarray] = {}
    for place, each in enumerate(directions):
        if each is not None:
            vectors[place] = sketch(each["sketch"])
            groups.setdefault((each["tensor"], len(vectors[place])), []).append(place)
    parent = list(range(len(directions)))
    for places in groups.values():
        if len(places) <= MOST:
            _join(parent, places, np.stack([vectors[place] for place in places]))
    numbers: dict[int, int] = {}
    roots = [_root(parent, place) for place in range(len(directions))]
    sizes = Counter(roots)
    for place, root in enumerate(roots):
        if sizes[root] > 1:
            found[place] = numbers.setdefault(root, len(numbers) + 1)
    return found


def _join(parent: list[int], places: list[int], vectors: np.ndarray) -> None:
    for begin in range(0, len(places), _ROWS):
        alike = np.abs(vectors[begin : begin + _ROWS] @ vectors.T) >= ALIKE
        for one, other in zip(*np.nonzero(alike), strict=True):
            if begin + one < other:
                parent[_root(parent, places[other])] = _root(parent, places[begin + one])


def _root(parent: list[int], place: int) -> int:
    while parent[place] != place:
        parent[place] = parent[parent[place]]
        place = parent[place]
    return place
