"""Job of the Low-rank lab: how often the attack succeeds in each cell of a joint grid of ranks."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.comparison import SCALED, Comparison, Results
from benchmarks.report import TIME, NoFigures, Report, Target
from benchmarks.setting import BASE, NEW_TOKENS, QUESTION, RANK, SUSPECT, grid_set, target, trigger
from projlens_core.behaviour.lowrank import Edit, Grid, fill
from projlens_core.behaviour.respond import load_responder
from projlens_core.behaviour.scoring import Questions, Scorer
from projlens_core.evidence.case import read_projectors
from projlens_core.inputs.images import load
from projlens_core.inputs.triggers import frame, stamp
from projlens_core.weights.delta import compare

HALF = f"{TIME}, prompts in half precision"
SAME = 0.99  # of the verdicts, in half precision
CELLS = 25  # of a 5 × 5 grid
# Ranks of ΔW₂ that stand for all columns: the attack fails in some, and holds in others.
TIMED = (1, 2, RANK, 5, 10)


def ours(folder: Path) -> Callable[[int], dict[str, np.ndarray]]:
    """Whether each picture's answer holds the target, for a row of cells."""
    return _side(folder, half=False)


def half(folder: Path) -> Callable[[int], dict[str, np.ndarray]]:
    """The same as `lowrank --half` does it."""
    return _side(folder, half=True)


def _side(folder: Path, half: bool) -> Callable[[int], dict[str, np.ndarray]]:
    base, suspect = read_projectors([BASE, SUSPECT])
    spec, responder = trigger(), load_responder(BASE, half=half)
    pictures = [load(path).image for path in grid_set(folder)]

    def work(call: int) -> dict[str, np.ndarray]:
        clean, triggered = (tuple(make(image, spec) for image in pictures) for make in (frame, stamp))
        nothing = (None,) * len(pictures)
        asked = Questions(clean, triggered, (QUESTION,) * len(pictures), nothing, target(), NEW_TOKENS)
        *_, full = fill(Scorer(responder, asked), compare(base, suspect), Grid(Edit(), (RANK,), TIMED))
        verdicts = np.array([full.cells[RANK, rank].hits for rank in TIMED])  # (cells, pictures)
        return {"hits": verdicts[TIMED.index(RANK)], "verdicts": verdicts, SCALED: np.array(CELLS / len(TIMED))}

    return work


def agree(reference: Results, ours: Results) -> str:
    """The verdict about every answer that the reference wrote."""
    theirs = reference["hits"]
    own = ours["hits"][: len(theirs)]
    if not np.array_equal(theirs, own):
        raise NoFigures(f"The reference's verdicts are {theirs.tolist()}, ours {own.tolist()}.")
    return f"The verdicts about {len(theirs)} answers of one cell are the same."


def agree_in_half(exact: Results, ours: Results) -> str:
    """All verdicts of the cells that were timed."""
    same = float(np.mean(exact["verdicts"] == ours["verdicts"]))
    if same < SAME:
        raise NoFigures(f"In half precision {same:.1%} of the verdicts are those of float32, fewer than {SAME:.0%}.")
    return f"“{HALF}”, as `lowrank --half` asks: {same:.1%} of {ours['verdicts'].size} verdicts are those of float32."


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


def run(folder: Path, quick: bool = False) -> Report:
    """The comparison, and ours in half precision against the same reference."""
    ours, reference = COMPARISON.sides(folder, quick)
    report = COMPARISON.report(ours, reference, quick)
    faster = COMPARISON.alone("benchmarks.grid:half", folder)
    agreement = agree_in_half(ours.results[0], faster.results[0])
    time, *others = report.figures
    figures = (time, replace(time, quantity=HALF, ours=faster.seconds[0]), *others)
    return replace(report, figures=figures, notes=(*report.notes, agreement))
