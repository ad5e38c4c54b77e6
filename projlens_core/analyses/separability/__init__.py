"""Static separability: a linear classifier on pooled embeddings, clean against triggered. Runs no language model."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from projlens_core.analyses.analysis import Analysis, Options, option

if TYPE_CHECKING:
    from projlens_core.activations.separability import Separability
    from projlens_core.analyses.context import AnalysisContext
    from projlens_core.analyses.exhibit import Exhibit


@dataclass(frozen=True)
class SeparabilityOptions(Options):
    """See Analysis.options."""

    seed: int = option(0, "seed of the folds and of the shuffled labels", low=0)


def _measure(context: "AnalysisContext", options: SeparabilityOptions) -> "dict[str, Separability]":
    # only here: they bring PyTorch
    from projlens_core.activations.separability import separability
    from projlens_core.activations.shift import embeddings

    clean, triggered = context.twin_tokens
    found: dict[str, Separability] = {}
    for role, weights in context.projectors.items():
        context.progress("Cross-validating the classifiers", len(found), len(context.projectors))
        found[role] = separability(embeddings(weights, clean[role]), embeddings(weights, triggered[role]), options.seed)
    return found


def _present(by_role: "dict[str, Separability]", context: "AnalysisContext", settings: dict) -> "Exhibit":
    from projlens_core.analyses.separability.exhibit import separability  # only here: it brings Altair

    return separability(by_role, tuple(context.images.names), settings)


def _text(exhibit: "Exhibit") -> list[str]:
    """Suspect, base and control: how well they separate, beside norms alone and shuffled labels."""
    lines = []
    for role in ("base", "suspect", "control"):
        if role not in exhibit.data:
            continue
        auroc, norms, chance = (exhibit.data[role][name] for name in ("auroc", "norms", "chance"))
        lines += [
            f"{role}: AUROC {auroc['auroc']:.3f} ({auroc['low']:.3f} to {auroc['high']:.3f}), "
            f"norms {norms['auroc']:.3f}",
            f"  shuffled labels: mean {chance['mean']:.3f}, 97.5 % {chance['high']:.3f}; p {chance['p']:.2g}",
        ]
    return lines


ANALYSIS = Analysis(
    key="separability",
    title="Separability",
    question="Do the embeddings separate clean from triggered images?",
    summary="separate clean from triggered images by their pooled embeddings",
    failure="These images cannot be separated",
    floor="activations",
    options=SeparabilityOptions,
    measure=_measure,
    present=_present,
    text=_text,
    json="every image's decision value",
    icon=":material/join_inner:",
    csv="the decision values",
    table=1,
)
