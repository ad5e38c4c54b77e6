"""All analyses of a case that apply to it, one after another: each gives its exhibit or says why not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from projlens_core import analyses
from projlens_core.analyses.context import SEED, AnalysisContext, AnalysisInputs
from projlens_core.analyses.exhibit import Exhibit
from projlens_core.behaviour.lowrank import Edit, Grid, fill
from projlens_core.behaviour.robustness import sweep
from projlens_core.behaviour.scoring import Questions, Scorer
from projlens_core.cases.models import Loaded, Models
from projlens_core.cases.settings import settings
from projlens_core.cases.whose import BOTH, signed, whose
from projlens_core.errors import Cancelled, NotFound, ProjLensError
from projlens_core.exhibits import lowrank as lowrank_exhibit
from projlens_core.exhibits import robustness as robustness_exhibit
from projlens_core.inputs.changes import LEVELS, axes_of, changes
from projlens_core.report.private import without_home
from projlens_core.report.record import Missing, Record, provenance
from projlens_core.runtime import shortage
from projlens_core.runtime.progress import Progress, silent

Floor = Literal["weights", "activations", "behaviour"]
ORDER = (
    *("case", "spectrum", "activation", "shift", "lens", "neurons", "separability"),
    *("response", "lowrank", "robustness", "verdict"),
)


@dataclass(frozen=True)
class Part:
    """One analysis: its key and title, the evidence that it needs, how it is made, and whether a report has it only
    where it is asked for.
    """

    key: str
    title: str
    floor: Floor
    make: Callable[[AnalysisContext], Exhibit]
    on_request: bool = False


def record_of(
    inputs: AnalysisInputs,
    keys: Sequence[str] | None = None,
    models: Models | None = None,
    progress: Progress = silent,
    command: str = "",
) -> Record:
    """The parts that are in `keys`, in their order, by default all but those on request; one that fails does not stop
    the rest.

    Raises NotFound for a key that is none, what `open_case` raises where the weights cannot be compared (then nothing
    can be), and Cancelled from progress.
    """
    known = parts()
    chosen = (
        [key for key, part in known.items() if not part.on_request]
        if keys is None
        else [analyses.of_part(key) for key in keys]
    )
    if unknown := [key for key in chosen if key not in known]:
        raise NotFound(f"There is no part {unknown[0]!r}; the parts are {', '.join(known)}.")
    current = "Case"

    def told(stage: str, done: int, total: int) -> None:
        progress(f"{current}: {stage}", done, total)

    context = AnalysisContext(inputs, models or Loaded(), told)
    opened = context.opened
    exhibits, missing = [], []
    for key, part in known.items():
        if key not in chosen:
            continue
        current = part.title
        try:
            with shortage.named():
                exhibits.append(_signed(context, part, part.make(context)))
        except Cancelled:
            raise
        except ProjLensError as error:
            missing.append(Missing(part.title, str(error)))
    decided = settings(
        inputs.case,
        context.projectors,
        inputs.spec,
        len(inputs.images.pictures) if inputs.images else 0,
        target=inputs.target,
        questions=list(inputs.questions),
        max_new_tokens=inputs.max_new_tokens,
        parts=[key for key in known if key in chosen],
        seed=SEED,
    )
    title = f"{opened.suspect.source} against {opened.base.source}"
    told = provenance(context.hashes, decided, context.models.device, command)
    return without_home(Record(title, told, tuple(exhibits), tuple(missing)))


def _signed(context: AnalysisContext, part: Part, exhibit: Exhibit) -> Exhibit:
    """The exhibit with which models ran for it.

    The low-rank grid puts changes of a projector into base, and is about that alone.
    """
    if part.key == "lowrank":
        return signed(exhibit, whose(replace(context.inputs.case, projector_only=True), BOTH))
    return context.signed(exhibit, part.floor)


def _lowrank(context: AnalysisContext) -> Exhibit:
    pair, target, prompts = context.attacked, context.target, context.prompts
    questions = Questions(
        tuple(pair.clean),
        tuple(pair.triggered),
        tuple(prompts),
        context.one_truth_each,
        target,
        context.inputs.max_new_tokens,
    )
    ranks = context.inputs.ranks
    with context.responder() as responder:
        scorer = Scorer(responder, questions)
        grid = Grid.of(context.opened.delta, Edit(), ranks)
        *_, grid = fill(scorer, context.opened.delta, grid, context.projectors, context.progress)
    told = context.decided(target=target, prompts=sorted(set(prompts)), max_new_tokens=context.inputs.max_new_tokens)
    return lowrank_exhibit.lowrank(grid, told, mode=context.inputs.mode)


def _robustness(context: AnalysisContext) -> Exhibit:
    """By shift alone: answers to every change would take longer than all else."""
    pictures, spec, opened = context.attacked.clean, context.inputs.spec, context.opened
    levels = {axis: LEVELS[axis] for axis in axes_of(spec)}
    tried = sweep(
        opened.base,
        opened.suspect,
        opened.control,
        context.vision,
        pictures,
        spec,
        changes(spec, levels),
        context.progress,
    )
    told = context.decided(levels={axis: list(values) for axis, values in levels.items()}, crossed=False)
    return robustness_exhibit.robustness(list(tried), told)


def parts() -> dict[str, Part]:
    """All parts by key, in the order of the report."""
    made = {}
    for record in map(analyses.find, analyses.KEYS):
        make = partial(record.run, options=record.reported)
        made[record.key] = Part(record.key, record.title, record.floor, make, record.on_request)
    by_hand = (
        Part("lowrank", lowrank_exhibit.TITLE, "behaviour", _lowrank),
        Part("robustness", robustness_exhibit.TITLE, "activations", _robustness),
    )
    found = {part.key: part for part in by_hand} | made
    return {key: found[key] for key in sorted(found, key=_place)}


def _place(key: str) -> int:
    return ORDER.index(key) if key in ORDER else len(ORDER) - 1
