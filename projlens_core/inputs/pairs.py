"""Which of several images are the clean and the triggered version of the same one, by their names."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from projlens_core.inputs.images import NamedImage

SAME = " = "  # between the names of an image that came under several
CLEAN = frozenset({"clean", "original", "benign"})
TRIGGERED = frozenset({"triggered", "trigger", "poisoned", "stamped"})
NAMING = (
    "Name the files of a pair alike but for one word: cat.png or cat-clean.png, and cat-triggered.png (also: trigger, "
    "poisoned, stamped)."
)


@dataclass(frozen=True)
class Pairs:
    """Clean images and their triggered versions, in the order of the clean ones; alone: names of all others."""

    pairs: tuple[tuple[NamedImage, NamedImage], ...]
    alone: tuple[str, ...]


def paired(images: Sequence[NamedImage]) -> Pairs:
    """The pairs among these images: names that differ in one word of CLEAN or TRIGGERED, and in the extension.

    Of a name that several clean or several triggered images have, none is taken: which belong together is unknown.
    """
    sides: dict[str, tuple[list[NamedImage], list[NamedImage]]] = {}
    for image, name in [(each, name) for each in images for name in each.name.split(SAME)]:
        words = [word for word in re.split(r"[\W_]+", PurePath(name).stem.lower()) if word]
        common = " ".join(word for word in words if word not in CLEAN | TRIGGERED)
        sides.setdefault(common, ([], []))[not TRIGGERED.isdisjoint(words)].append(image)
    found = [(clean[0], triggered[0]) for clean, triggered in sides.values() if len(clean) == len(triggered) == 1]
    taken = {id(image) for pair in found for image in pair}
    return Pairs(tuple(found), tuple(image.name for image in images if id(image) not in taken))
