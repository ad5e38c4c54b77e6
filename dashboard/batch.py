"""One question over many images under every projector of a case: run and CSV. No streamlit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from PIL import Image

from projlens_core.behaviour.responder import Responder
from projlens_core.behaviour.success import Outcome, Truth, measure
from projlens_core.cases.case import Case
from projlens_core.runtime.progress import Progress
from projlens_core.weights.projector import ProjectorWeights


@dataclass(frozen=True)
class BatchImages:
    """Images to ask about: (name, clean, triggered) each, the trigger's title, a hash of all that, and by name what is
    known of the clean ones.
    """

    images: tuple[tuple[str, Image.Image, Image.Image], ...]
    trigger: str
    key: str
    truths: dict[str, tuple[Truth, ...]]


@dataclass(frozen=True)
class Batch:
    """What was asked, about which images, and what came of it; outcomes by role, rows in the images' order."""

    case: Case
    question: str
    target: str | None  # None: answers that differ from base's are counted instead
    trigger: str  # its title
    triggered: tuple[Image.Image, ...]
    outcomes: dict[str, Outcome]
    useful: bool = False  # whether questions with known answers were to be asked, too


def run(
    responder: Responder,
    role: str,
    weights: ProjectorWeights,
    images: Sequence[tuple[str, Image.Image, Image.Image]],
    question: str,
    target: str | None,
    truths: Mapping[str, Sequence[Truth]] | None,
    progress: Progress,
) -> Outcome:
    """Measure one projector; images are (name, clean, triggered)."""
    names, clean, triggered = zip(*images, strict=True)

    def report(stage: str, done: int, total: int) -> None:
        progress(f"{stage}, {role}", done, total)

    return measure(
        responder, weights, clean, triggered, [question] * len(names), target, truths, names, progress=report
    )


def whole(batch: Batch, answers: pd.DataFrame) -> pd.DataFrame:
    """The table of answers with question, target and trigger, to be kept as a file."""
    return answers.assign(question=batch.question, target=batch.target, trigger=batch.trigger)
