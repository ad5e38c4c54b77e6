"""What the Report page computes: the record of a case from what the dashboard has at hand, and its files."""

from collections.abc import Sequence

from dashboard import resources, trigger_picker
from dashboard.models import Shelved
from dashboard.pickers import SetChoice
from projlens_core.analyses.context import AnalysisInputs, inputs_for
from projlens_core.cases.case import Case
from projlens_core.inputs.images import ImageSet
from projlens_core.report.bundle import pack
from projlens_core.report.gather import parts, record_of
from projlens_core.report.html import as_html
from projlens_core.report.record import Record, command_line
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.progress import Progress, silent


def asked(case: Case, choice: SetChoice | None, count: int, target: str, question: str) -> AnalysisInputs:
    """What the page's controls say; without images, the weights alone."""
    if choice is None:
        return AnalysisInputs(case)
    return inputs_for(
        case,
        ImageSet(choice.images[:count], ()),
        resources.truths(choice.images[:count]) or None,
        trigger=choice.spec,
        target=target or None,
        questions=(question,) if question else (),
    )


def answers(wanted: AnalysisInputs, chosen: Sequence[str]) -> int:
    """At most how many answers of the language model the parts take, those on request aside."""
    known = parts()
    asking = ((known[key].answers, known[key].reported or known[key].options()) for key in chosen)
    return sum(count(wanted, options) for count, options in asking if count is not None)


def recorded(wanted: AnalysisInputs, chosen: Sequence[str], progress: Progress) -> Record:
    """The record of the chosen parts, with the command that repeats it where one can."""
    return record_of(wanted, chosen, Shelved(), progress, command=_command(wanted, chosen))


def html(record: Record, progress: Progress = silent) -> bytes:
    """The report of a record; drawn once, whoever asks again."""
    return resources.shelf("reports", 4).get(
        content_key(pack(record)), lambda: as_html(record, progress).encode(), progress
    )


def _command(wanted: AnalysisInputs, chosen: Sequence[str]) -> str:
    """Empty where images or the trigger lie in this browser session alone."""
    own = trigger_picker.own(wanted.case.suspect)
    images = wanted.images.images if wanted.images else ()
    shipped = images == resources.samples()[: len(images)]
    if images and not (shipped and own and wanted.spec == own):
        return ""
    zoo = resources.zoo_entry(wanted.case.suspect)
    return command_line(
        "report",
        {
            **wanted.case.specs,
            "projector-only": wanted.case.projector_only or None,
            "n": len(images) or None,
            "target": wanted.target if zoo is None or wanted.target != zoo.target else None,
            "prompt": wanted.questions if zoo is None or wanted.questions != zoo.prompts else None,
            "parts": list(chosen),
            "out": "report.html",
        },
    )
