"""What the Low-rank lab computes: grids that fill cell by cell, and one image's answers at every rank."""

import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import streamlit as st

from dashboard import cost, resources, results
from dashboard.pickers import SetChoice
from projlens_core.behaviour.lowrank import Edit, Grid, Step, answers_by_rank, fill
from projlens_core.behaviour.questions import in_turn, one_truth_each
from projlens_core.behaviour.scoring import Questions, Score, Scorer
from projlens_core.cases.case import Case, OpenedCase
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.progress import Progress
from projlens_core.weights.delta import Delta

KEPT = 24  # edits a session
GRIDS = "lowrank_grids"  # session_state: {key: Memory}


@dataclass(frozen=True)
class WantedGrid:
    """What the user asks of the lab."""

    edit: Edit
    ranks: tuple[int, ...]
    choice: SetChoice  # the images to ask about, and the trigger
    prompts: tuple[str, ...]  # take turns over the images
    target: str
    control: bool  # whether the control's ΔW gets a grid too

    def grid(self, delta: Delta, cells: Mapping[tuple[int, int], Score], whole: Mapping[str, Score]) -> Grid:
        """The grid with those of the cells that are in it."""
        empty = Grid.of(delta, self.edit, self.ranks)
        return replace(empty, whole=dict(whole), cells={cell: cells[cell] for cell in empty.wanted if cell in cells})

    def questions(self) -> Questions:
        """What each cell is asked."""
        images, spec = self.choice.images, self.choice.trigger
        return Questions(
            clean=tuple(resources.clean_image(p, spec) for p in images),
            triggered=tuple(resources.triggered_image(p, spec) for p in images),
            prompts=tuple(in_turn(self.prompts, len(images))),
            truths=one_truth_each([p.name for p in images], resources.truths(images)),
            target=self.target,
        )

    @property
    def each(self) -> int:
        """How many answers a cell needs."""
        known = resources.truths(self.choice.images)
        return sum(2 if known.get(image.name) else 1 for image in self.choice.images)

    def left(self, opened: OpenedCase, grids: "Grids") -> int:
        """How many cells and whole models are still to be asked, as far as this session knows."""
        cells = sum(len(grid.missing) for grid in (grids.suspect, grids.control) if grid)
        return cells + sum(role not in grids.suspect.whole for role in opened.projectors)

    def key(self, opened: OpenedCase) -> str:
        """A hash of all that decides a cell's score, the cell aside."""
        hashes = [weights.sha256 for weights in opened.projectors.values()]
        model = resources.model_key(opened.case)
        return content_key(hashes, model, self.edit, self.prompts, self.target, self.choice.key)


@dataclass(frozen=True)
class Grids:
    """The suspect's grid and, if it was asked for, the control's."""

    suspect: Grid
    control: Grid | None


@dataclass
class Memory:
    """All that a session has measured with one edit: cells of any grid, by whose ΔW, and the whole models."""

    suspect: dict[tuple[int, int], Score] = field(default_factory=dict)
    control: dict[tuple[int, int], Score] = field(default_factory=dict)
    whole: dict[str, Score] = field(default_factory=dict)


def known(opened: OpenedCase, wanted: WantedGrid) -> Grids:
    """What this session has measured of the grid, perhaps nothing."""
    kept = st.session_state.get(GRIDS, {}).get(wanted.key(opened), Memory())
    control = wanted.grid(opened.delta, kept.control, kept.whole) if wanted.control else None
    return Grids(wanted.grid(opened.delta, kept.suspect, kept.whole), control)


def filled(opened: OpenedCase, wanted: WantedGrid, progress: Progress) -> Generator[Grids]:
    """The grids again after each cell, kept in the session and on disk; the control's after the suspect's."""
    found = known(opened, wanted)
    memories = st.session_state.setdefault(GRIDS, {})
    memory = memories.setdefault(wanted.key(opened), Memory())
    while len(memories) > KEPT:
        memories.pop(next(iter(memories)))
    with results.language_model(experiment(opened.case), progress) as responder:
        scorer = Scorer(responder, wanted.questions())
        for role, delta in (("suspect", opened.delta), ("control", opened.control_delta)):
            grid = getattr(found, role)
            if grid is None or delta is None:
                continue
            clock = time.monotonic()
            for step, now in enumerate(fill(scorer, delta, grid, opened.projectors, progress)):
                found = replace(found, **{role: now})
                getattr(memory, role).update(now.cells)
                memory.whole.update(now.whole)
                if step:  # the first only brings what was stored
                    cost.measured((time.monotonic() - clock) / scorer.questions.answers)
                yield found
                clock = time.monotonic()


def experiment(case: Case) -> Case:
    """The case as the lab looks at it: changes of a projector in base's own model, whatever else a suspect brings."""
    return replace(case, projector_only=True)


def steps(
    opened: OpenedCase, edit: Edit, ranks: Sequence[int], choice: SetChoice, prompt: str, target: str,
    progress: Progress, *, ask: bool,
) -> tuple[Step, ...] | None:  # fmt: skip
    """Answers about the choice's first image at every rank; None if not asked before and `ask` is not set."""
    image, spec = choice.images[0], choice.trigger
    hashes = (opened.base.sha256, opened.suspect.sha256, resources.model_key(opened.case))
    asked = (edit, tuple(ranks), prompt, target, choice.first(1).key)

    def make() -> tuple[Step, ...]:
        with results.language_model(experiment(opened.case), progress) as responder:
            return answers_by_rank(
                responder,
                opened.delta,
                edit,
                ranks,
                resources.clean_image(image, spec),
                resources.triggered_image(image, spec),
                prompt,
                target,
                progress=progress,
            )

    shelf, key = resources.shelf("steps", 64), content_key(hashes, asked)
    return shelf.get(key, make, progress) if ask or key in shelf else None
