"""The search that a verdict makes, from a case and the verdict's options: the command's, and a screening's stages'."""

from pathlib import Path
from typing import TYPE_CHECKING

from projlens_core.analyses.verdict import PROMPTS
from projlens_core.behaviour.trigger_search import Searcher
from projlens_core.inputs.further_probes import further_probes
from projlens_core.inputs.probes import BANK, Probe, read_bank

if TYPE_CHECKING:
    from projlens_core.analyses.context import AnalysisContext
    from projlens_core.analyses.verdict import VerdictOptions


def searcher_of(context: "AnalysisContext", options: "VerdictOptions") -> Searcher:
    """The search under the case's projectors, on its images, with the questions that the options name."""
    images = context.images
    known = dict.fromkeys(truth.prompt for each in (context.inputs.truths or {}).values() for truth in each)
    return Searcher(
        context.responder,
        context.projectors,
        images.names,
        images.clean,
        options.prompts or tuple(known) or PROMPTS,
        context.progress,
        options.budget or None,
    )


def bank_of(searcher: Searcher, options: "VerdictOptions") -> tuple[Probe, ...]:
    """The probes that the options name, the built-in ones by default."""
    return read_bank(searcher.resolution, Path(options.bank) if options.bank else BANK)


def only_heard_of(searcher: Searcher, options: "VerdictOptions") -> tuple[Probe, ...]:
    """The probes that the suspect is listened to under as well; none beside a bank that the options name."""
    return () if options.bank else further_probes(searcher.resolution)
