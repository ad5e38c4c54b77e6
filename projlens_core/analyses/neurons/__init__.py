"""Hidden units of the projectors, on clean and on triggered images. Paper: there are no trigger neurons."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from projlens_core.analyses.analysis import Analysis, Options, option

if TYPE_CHECKING:
    from projlens_core.activations.neurons import NeuronFinding
    from projlens_core.analyses.context import AnalysisContext
    from projlens_core.analyses.exhibit import Exhibit

SHOWN = 10  # units listed of each ranking


@dataclass(frozen=True)
class NeuronOptions(Options):
    """See Analysis.options."""

    seed: int = option(0, "seed of the random halves that chance is estimated from", low=0)


def _measure(context: "AnalysisContext", options: NeuronOptions) -> "dict[str, NeuronFinding]":
    from projlens_core.activations.neurons import analyse  # only here: it brings PyTorch

    clean, triggered = context.twin_tokens
    return analyse(context.projectors, clean, triggered, context.progress, options.seed)


def _present(findings: "dict[str, NeuronFinding]", context: "AnalysisContext", settings: dict) -> "Exhibit":
    from projlens_core.analyses.neurons.exhibit import neurons  # only here: it brings Altair

    return neurons(findings, settings)


def _text(exhibit: "Exhibit") -> list[str]:
    """The headline numbers, and the units that head each ranking of the suspect."""
    rankings = exhibit.data["rankings"].items()
    leading = [f"{by}, leading units: {' '.join(map(str, units[:SHOWN]))}" for by, units in rankings]
    return [*(card.line for card in exhibit.metrics), "", *leading, ""]


ANALYSIS = Analysis(
    key="neurons",
    title="Neurons",
    question="Are there units that only the trigger switches on?",
    summary="look for hidden units that only the trigger switches on",
    failure="The hidden units cannot be watched",
    floor="activations",
    options=NeuronOptions,
    measure=_measure,
    present=_present,
    text=_text,
    json="all units",
    icon=":material/hub:",
    csv="the table of all units",
)
