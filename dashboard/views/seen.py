"""What the Activation page is looking at, as its details need it."""

from dataclasses import dataclass

from dashboard.pickers import Choice
from projlens_core.activations.direction import DirectionKind
from projlens_core.activations.towers import Towers
from projlens_core.analyses.activation.measure import ImageShift, SampleShift
from projlens_core.cases.case import OpenedCase


@dataclass(frozen=True)
class Look:
    """How the shift is looked at: under which projector, along which direction, with or without its sign."""

    role: str
    direction: DirectionKind
    signed: bool


@dataclass(frozen=True)
class Seen:
    """The case, the image on screen under each of its projectors, and the samples that it is judged against."""

    opened: OpenedCase
    tower: Towers
    choice: Choice
    look: Look
    samples: SampleShift
    found: dict[str, ImageShift]
    sample_names: tuple[str, ...]
