"""All analyses of a case that apply to it, one after another: each gives its exhibit or says why not."""

from collections.abc import Mapping, Sequence

from projlens_core import analyses
from projlens_core.analyses.analysis import Analysis, Options
from projlens_core.analyses.context import SEED, AnalysisContext, AnalysisInputs
from projlens_core.cases.models import Loaded, Models
from projlens_core.cases.settings import settings
from projlens_core.errors import Cancelled, NotFound, ProjLensError
from projlens_core.report.private import without_home
from projlens_core.report.record import Missing, Record, provenance
from projlens_core.runtime import shortage
from projlens_core.runtime.progress import Progress, silent


def parts() -> dict[str, Analysis]:
    """All parts by key, in the order of the report; those on request come last."""
    records = [analyses.find(key) for key in analyses.KEYS]
    return {each.key: each for each in sorted(records, key=lambda each: each.on_request)}


def record_of(
    inputs: AnalysisInputs,
    keys: Sequence[str] | None = None,
    models: Models | None = None,
    progress: Progress = silent,
    command: str = "",
    options: Mapping[str, Options] | None = None,
) -> Record:
    """The parts that are in `keys`, in their order, by default all but those on request; one that fails does not stop
    the rest. options: of some parts, by key, other than a report's usual ones.

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
    chosen_options, current = options or {}, "Case"

    def report(stage: str, done: int, total: int) -> None:
        progress(f"{current}: {stage}", done, total)

    context = AnalysisContext(inputs, models or Loaded(), report)
    opened = context.opened
    exhibits, missing = [], []
    for key, part in known.items():
        if key not in chosen:
            continue
        current = part.title
        try:
            with shortage.named():
                exhibits.append(part.run(context, chosen_options.get(key, part.reported)))
        except Cancelled:
            raise
        except ProjLensError as error:
            missing.append(Missing(part.title, str(error)))
    decided = settings(
        inputs.case,
        context.projectors,
        inputs.spec,
        len(inputs.images.images) if inputs.images else 0,
        target=inputs.target,
        questions=list(inputs.questions),
        max_new_tokens=inputs.max_new_tokens,
        parts=[key for key in known if key in chosen],
        seed=SEED,
    )
    title = f"{opened.suspect.source} against {opened.base.source}"
    made = provenance(context.hashes, decided, context.models.device, command)
    return without_home(Record(title, made, tuple(exhibits), tuple(missing)))
