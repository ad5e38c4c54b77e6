"""Job of the Low-rank lab: how often the attack succeeds in each cell of a joint grid of ranks."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.comparison import SCALED, Comparison, Results
from benchmarks.report import TIME, NoFigures, Target
from benchmarks.setting import BASE, NEW_TOKENS, QUESTION, RANK, SUSPECT, grid_set, target, trigger
from projlens_core.behaviour.lowrank import Edit, Grid, fill
from projlens_core.behaviour.respond import load_responder
from projlens_core.behaviour.scoring import Questions, Scorer
from projlens_core.cases.case import read_projectors
from projlens_core.inputs.images import load
from projlens_core.inputs.triggers import frame, stamp
from projlens_core.weights.delta import compare

CELLS = 25  # of a 5 × 5 grid
# Ranks of ΔW₂ that stand for all columns: the attack fails in some, and holds in others.
TIMED = (1, 2, RANK, 5, 10)


def ours(folder: Path) -> Callable[[int], dict[str, np.ndarray]]:
    """Whether each image's answer holds the target, for a row of cells."""
    base, suspect = read_projectors([BASE, SUSPECT])
    spec, responder = trigger(), load_responder(BASE)
    images = [load(path).pixels for path in grid_set(folder)]

    def work(call: int) -> dict[str, np.ndarray]:
        clean, triggered = (tuple(make(image, spec) for image in images) for make in (frame, stamp))
        nothing = (None,) * len(images)
        asked = Questions(clean, triggered, (QUESTION,) * len(images), nothing, target(), NEW_TOKENS)
        *_, full = fill(Scorer(responder, asked), compare(base, suspect), Grid(Edit(), (RANK,), TIMED))
        return {"hits": np.array(full.cells[RANK, RANK].hits), SCALED: np.array(CELLS / len(TIMED))}

    return work


def agree(reference: Results, ours: Results) -> str:
    """The verdict about every answer that the reference wrote."""
    theirs = reference["hits"]
    own = ours["hits"][: len(theirs)]
    if not np.array_equal(theirs, own):
        raise NoFigures(f"The reference's verdicts are {theirs.tolist()}, ours {own.tolist()}.")
    return f"The verdicts about {len(theirs)} answers of one cell are the same."


COMPARISON = Comparison(
    name="grid",
    title="joint 5×5 grid, N = 100 (zoo)",
    prepare="benchmarks.inputs:models_and_grid",
    reference="benchmarks.reference:grid",
    ours="benchmarks.grid:ours",
    agree=agree,
    targets={TIME: Target(ahead_by=5)},
    notes=(
        f"Ours is timed on {len(TIMED)} cells and scaled to {CELLS}; the reference on a few answers of one cell, the "
        "edit of its weights not counted, and scaled to all.",
    ),
)
