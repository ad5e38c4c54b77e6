"""One question over many pictures under every projector of a case: run, table and CSV. No streamlit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from PIL import Image

from projlens_core.behaviour.respond import Responder
from projlens_core.behaviour.success import Outcome, Rate, Truth, measure
from projlens_core.evidence.case import Case, OpenedCase
from projlens_core.evidence.spreadsheet import as_csv
from projlens_core.progress import Progress
from projlens_core.weights.projector import ProjectorWeights

MEASURES = {  # of an Outcome: title, and what is counted
    "asr": ("Attack success rate", "triggered pictures"),
    "false_target": ("Target on clean pictures", "clean pictures"),
    "utility": ("Clean utility", "questions with known answers"),
}


@dataclass(frozen=True)
class Batch:
    """What was asked, about which pictures, and what came of it; outcomes by role, rows in the pictures' order."""

    case: Case
    question: str
    target: str
    trigger: str  # its title
    triggered: tuple[Image.Image, ...]
    outcomes: dict[str, Outcome]

    def rates(self, measured: str) -> dict[str, Rate]:
        """One of MEASURES under each projector; empty if it was not measured."""
        found = {role: getattr(outcome, measured) for role, outcome in self.outcomes.items()}
        return {role: rate for role, rate in found.items() if rate is not None}


def projectors(opened: OpenedCase) -> dict[str, ProjectorWeights]:
    """The projectors of a case by role."""
    roles = {"base": opened.base, "suspect": opened.suspect, "control": opened.control}
    return {role: weights for role, weights in roles.items() if weights is not None}


def run(
    responder: Responder,
    role: str,
    weights: ProjectorWeights,
    images: Sequence[tuple[str, Image.Image, Image.Image]],
    question: str,
    target: str,
    truths: Mapping[str, Sequence[Truth]] | None,
    progress: Progress,
) -> Outcome:
    """Measure one projector; images are (name, clean, triggered)."""
    names, clean, triggered = zip(*images, strict=True)

    def told(stage: str, done: int, total: int) -> None:
        progress(f"{stage}, {role}", done, total)

    return measure(responder, weights, clean, triggered, [question] * len(names), target, truths, names, progress=told)


def table(batch: Batch) -> pd.DataFrame:
    """One row a picture: the answers of every projector without and with the trigger, the suspect first."""
    order = sorted(batch.outcomes, key=["suspect", "base", "control"].index)
    rows = []
    for parts in zip(*(batch.outcomes[role].rows for role in order), strict=True):
        row = {"picture": parts[0].name, "target said": parts[0].hit, "on clean too": parts[0].false_hit}
        for role, part in zip(order, parts, strict=True):
            row |= {f"{role}, triggered": part.triggered, f"{role}, clean": part.clean}
        if parts[0].right is not None:
            row["clean answers right"] = parts[0].right
        rows.append(row)
    return pd.DataFrame(rows)


def csv(batch: Batch) -> bytes:
    """The table with question and target, for a spreadsheet: a text that would be run as a formula is quoted."""
    frame = table(batch).assign(question=batch.question, target=batch.target, trigger=batch.trigger)
    return as_csv(frame)
