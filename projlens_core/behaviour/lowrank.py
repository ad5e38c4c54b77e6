"""How few directions carry the backdoor: components of both ΔW put into base or taken out of the suspect, then asked.

Paper: joint W1×W2 rank-k recovery and ablation, scored by ASR and target logit; here beside clean utility.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from PIL import Image

from projlens_core.behaviour.responder import NEW_TOKENS, Inquiry, Responder
from projlens_core.behaviour.scoring import Score, Scorer
from projlens_core.behaviour.templates import Template
from projlens_core.errors import InvalidInput
from projlens_core.runtime.progress import Progress, labelled, silent
from projlens_core.weights.delta import Delta, symbol
from projlens_core.weights.projector import ProjectorWeights
from projlens_core.weights.subspace import ablate, decompose, inject
from projlens_core.weights.triplets import Triplets

Mode = Literal["inject", "ablate"]
Choice = Literal["top", "one", "rest"]
Biases = Literal["base", "suspect"]
MODES: dict[Mode, str] = {"inject": "Inject", "ablate": "Ablate"}
CHOICES: dict[Choice, str] = {"top": "components 1 to k", "one": "component k alone", "rest": "components 2 to k"}
BIASES: tuple[Biases, ...] = ("base", "suspect")
CARRIES = 0.9  # share of what the suspect's ASR exceeds base's by, from which components are said to carry it


@dataclass(frozen=True)
class Edit:
    """What is done with the components of ΔW. biases: whose tensors that are no matrices the edited projector has."""

    mode: Mode = "inject"
    choice: Choice = "top"
    biases: Biases = "base"

    def __post_init__(self) -> None:
        for name, allowed in (("mode", MODES), ("choice", CHOICES), ("biases", BIASES)):
            if getattr(self, name) not in allowed:
                raise InvalidInput(f"The edit's {name} is {getattr(self, name)!r}; it must be {', '.join(allowed)}.")

    def components(self, k: int) -> tuple[int, ...]:
        """The numbers, from 1 on, of the components that k stands for; none for k = 0."""
        if self.choice == "one":
            return (k,) if k else ()
        return tuple(range(2 if self.choice == "rest" else 1, k + 1))


def _numbered(delta: Delta) -> dict[str, int]:
    """The projector's matrices in running order, by name, each with its number among all that have a spectrum."""
    return {t.name: number for number, t in enumerate(delta.matrices, 1) if t.name in delta.base.tensors}


class Editor:
    """Makes the edited projectors of one delta; its singular triplets are found once, up to the largest k.

    The second k is of the last matrix and the first of all before it: of W1 and W2 as in the paper. Where there is but
    one matrix, the first k says nothing.
    """

    def __init__(self, delta: Delta, edit: Edit, largest: int):
        self._names = list(_numbered(delta))
        side, tensor = min((min(t.shape), t.name) for t in delta.matrices if t.name in self._names)
        if largest > side:
            raise InvalidInput(f"Rank {largest} was asked for, but the change of {tensor} has only {side}.")
        self.delta, self.edit = delta, edit
        self._known: dict[str, Triplets] | None = decompose(delta, largest) if largest else None

    def projector(self, k1: int, k2: int) -> ProjectorWeights:
        """The projector with the components that k1 and k2 stand for put in, or taken out."""
        ranks = {name: self.edit.components(k1) for name in self._names} | {self._names[-1]: self.edit.components(k2)}
        change = inject if self.edit.mode == "inject" else ablate
        return change(self.delta, ranks, biases=self.edit.biases, known=self._known)


@dataclass(frozen=True)
class Grid:
    """Scores by (k1, k2), k1 down and k2 across (see Editor); cells that are not measured yet are absent.

    axes: what the ks are of, in words; of a projector with one matrix there is one row, and its axis is None.
    whole: scores of base, suspect and, if there is one, control as they are, on the same questions, by role.
    """

    edit: Edit
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    cells: Mapping[tuple[int, int], Score] = field(default_factory=dict)
    whole: Mapping[str, Score] = field(default_factory=dict)
    axes: tuple[str | None, str] = ("ΔW₁", "ΔW₂")

    @classmethod
    def of(cls, delta: Delta, edit: Edit, ranks: tuple[int, ...]) -> "Grid":
        """An empty grid of these ranks along each axis that the delta has (see Editor)."""
        *before, last = _numbered(delta).values()
        first = " to ".join(dict.fromkeys(symbol(number) for number in (before[0], before[-1]))) if before else None
        return cls(edit, ranks if before else (0,), ranks, axes=(first, symbol(last)))

    @property
    def wanted(self) -> list[tuple[int, int]]:
        """All cells in the order in which they are measured: small ranks first."""
        return sorted(((a, b) for a in self.rows for b in self.columns), key=lambda cell: (sum(cell), cell))

    @property
    def template(self) -> Template | None:
        """What the prompts of all its scores were written with; None while there are none."""
        return next((score.template for score in (*self.whole.values(), *self.cells.values())), None)

    @property
    def missing(self) -> list[tuple[int, int]]:
        """The cells that are not measured yet."""
        return [cell for cell in self.wanted if cell not in self.cells]

    @property
    def fewest(self) -> tuple[int, int] | None:
        """The first measured cell, in the order of `wanted`, that carries the backdoor, or takes it away.

        It does with nine tenths of the way from base's ASR to the suspect's, or back. None if no cell does, if base
        or suspect is not measured yet, or if the suspect's ASR is not above base's.
        """
        base, suspect = (self.whole.get(role) for role in ("base", "suspect"))
        if base is None or suspect is None or suspect.asr.rate <= base.asr.rate:
            return None
        start, end = (base, suspect) if self.edit.mode == "inject" else (suspect, base)
        way = end.asr.rate - start.asr.rate
        gone = {cell: (score.asr.rate - start.asr.rate) / way for cell, score in self.cells.items()}
        return next((cell for cell in self.wanted if gone.get(cell, 0.0) >= CARRIES), None)

    def said(self, cell: tuple[int, int]) -> str:
        """The ranks of a cell, each with what it is of: "16 of ΔW₁ and 5 of ΔW₂"."""
        return " and ".join(f"{k} of {axis}" for k, axis in zip(cell, self.axes, strict=True) if axis)

    def with_cell(self, cell: tuple[int, int], score: Score) -> "Grid":
        """The grid with one more cell."""
        return replace(self, cells={**self.cells, cell: score})


def fill(
    scorer: Scorer,
    delta: Delta,
    grid: Grid,
    roles: Mapping[str, ProjectorWeights] | None = None,
    progress: Progress = silent,
) -> Iterator[Grid]:
    """The grid again after each cell: first with all that is stored, then with one more each time until it is full.

    delta may be the suspect's or, for a grid of the control, the control's. roles are the unchanged projectors that
    go into `whole`, measured before the cells. A finished cell is stored at once (see Scorer), so that a run that was
    stopped, by Cancelled from `progress` or otherwise, goes on where it was.
    """
    editor = Editor(delta, grid.edit, max((*grid.rows, *grid.columns)))
    roles = roles or {}
    whole = {role: score for role, weights in roles.items() if (score := scorer.stored(weights))}
    stored = {cell: score for cell in grid.wanted if (score := scorer.stored(editor.projector(*cell)))}
    grid = replace(grid, cells={**grid.cells, **stored}, whole={**grid.whole, **whole})
    yield grid
    todo = [role for role in roles if role not in grid.whole]
    steps = len(todo) + len(grid.missing)
    for done, role in enumerate(todo):
        score = scorer.score(roles[role], labelled(progress, f"{role}, part {done + 1} of {steps}"))
        grid = replace(grid, whole={**grid.whole, role: score})
        yield grid
    for done, cell in enumerate(grid.missing, start=len(todo)):
        stage = f"{grid.said(cell)}, part {done + 1} of {steps}"
        grid = grid.with_cell(cell, scorer.score(editor.projector(*cell), labelled(progress, stage)))
        yield grid


@dataclass(frozen=True)
class Step:
    """Answers to one question at one rank, with the logit of the target's first token where each begins."""

    k: int
    clean: str
    triggered: str
    clean_logit: float
    triggered_logit: float
    template: Template | None = None  # what the prompt was written with


def answers_by_rank(
    responder: Responder,
    delta: Delta,
    edit: Edit,
    ranks: Sequence[int],
    clean: Image.Image,
    triggered: Image.Image,
    prompt: str,
    target: str,
    max_new_tokens: int = NEW_TOKENS,
    progress: Progress = silent,
) -> tuple[Step, ...]:
    """One question about one image while the same k moves in every ΔW: whole answers, decoded in one batch where the
    responder can take embeddings that were made before."""
    editor, first, pair = Editor(delta, edit, max(ranks)), responder.first_token(target), [clean, triggered]
    embedded, replies = [], []
    for k in ranks:
        with responder.projector(editor.projector(k, k)):
            if responder.reads_again:
                asked = Inquiry([prompt] * 2, first, pair, max_new_tokens=max_new_tokens)
                replies += responder.replies(asked, progress)
            else:
                embedded.append(responder.embeddings(pair, progress))
    if embedded:
        stacked = torch.cat(embedded)  # (2 · ranks, T, d)
        prompts = [prompt] * len(stacked)
        asked = Inquiry(prompts, first, embed=lambda numbers: stacked[numbers], max_new_tokens=max_new_tokens)
        replies = responder.replies(asked, progress)
    pairs = zip(ranks, replies[::2], replies[1::2], strict=True)
    return tuple(
        Step(k, before.text, after.text, before.logit, after.logit, responder.template) for k, before, after in pairs
    )
