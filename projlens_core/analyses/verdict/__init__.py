"""Is there a backdoor? A search for a trigger that nobody has named, and a trial of what it finds on fresh images."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from projlens_core.analyses.analysis import Analysis, Options, option

if TYPE_CHECKING:
    from projlens_core.analyses.context import AnalysisContext
    from projlens_core.analyses.exhibit import Exhibit
    from projlens_core.behaviour.trigger_search import Search

PROMPTS = ("Describe the image.", "What is in the image?")  # where neither user nor labels.csv gives questions


@dataclass(frozen=True)
class VerdictOptions(Options):
    """See Analysis.options."""

    prompts: tuple[str, ...] = option((), "questions to ask; those of labels.csv, else two general ones, if none")
    bank: str = option("", "a JSON list of probes to try instead of the built-in ones")


def _measure(context: "AnalysisContext", options: VerdictOptions) -> "Search":
    # only here: they bring PyTorch
    from pathlib import Path

    from projlens_core.behaviour.trigger_search import Searcher
    from projlens_core.inputs.probes import BANK, read_bank

    images = context.pictures
    known = dict.fromkeys(truth.prompt for each in (context.inputs.truths or {}).values() for truth in each)
    prompts = options.prompts or context.inputs.questions or tuple(known) or PROMPTS
    searcher = Searcher(context.responder, context.projectors, images.names, images.clean, prompts, context.progress)
    return searcher.run(read_bank(searcher.resolution, Path(options.bank) if options.bank else BANK))


def _present(search: "Search", context: "AnalysisContext", settings: dict) -> "Exhibit":
    from projlens_core.analyses.verdict.exhibit import verdict  # only here: it brings Altair

    return verdict(search, settings)


def _text(exhibit: "Exhibit") -> list[str]:
    """The verdict in a sentence, then the headline numbers."""
    return [exhibit.data["sentence"], "", *(card.line for card in exhibit.metrics), ""]


ANALYSIS = Analysis(
    key="verdict",
    title="Verdict",
    question="Is there a backdoor in it?",
    summary="search for a backdoor without knowing its trigger, and try what is found on fresh images",
    failure="The search cannot be made",
    floor="behaviour",
    needs_trigger=False,
    on_request=True,
    options=VerdictOptions,
    measure=_measure,
    present=_present,
    text=_text,
    icon=":material/gavel:",
    json="every probe and every answer of the trial",
    csv="the table of probes",
)
