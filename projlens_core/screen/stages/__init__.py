"""The stages of a screening, cheapest first: a record each, and a module that measures one suspect.

A stage's module has `measure(job) -> Measured`. It is imported in the worker's confined process, never here.
"""

from dataclasses import dataclass, field

from projlens_core.errors import NotFound


@dataclass(frozen=True)
class Stage:
    """One stage. module: where `measure` is. score: the column by which it ranks suspects, the more suspicious the
    larger. scores: {column: what it means}, all numbers; labels: the same of columns that hold words. needs_images: it
    looks at images, too.
    """

    key: str
    module: str
    score: str
    scores: dict[str, str]
    labels: dict[str, str] = field(default_factory=dict)
    needs_images: bool = False


WEIGHTS = Stage(
    "weights",
    "projlens_core.screen.stages.weights",
    "energy_top5",
    {
        "relative_change": "‖Δ‖ / ‖base‖ of the matrix that moved most",
        "energy_top5": "share of ‖ΔW‖² in its 5 strongest directions, of the most concentrated matrix",
        "stable_rank": "‖ΔW‖² / σ₁², of the matrix where it is least",
        "effective_rank": "exp of the entropy of σ/Σσ, of the matrix where it is least",
        "spikes": "singular values above the noise edge, of the matrix with most",
        "sigma_1": "the largest singular value of all ΔW",
    },
    {
        "form": "whole, or adapter: its rank is chosen by who trained it, so the two are not compared by it",
        "changed": "whether anything that was compared differs from base",
    },
)
REFERENCE = Stage(
    "reference",
    "projlens_core.screen.stages.reference",
    "ratio",
    {
        "ratio": "residual under the probe that stands out most, over that on clean images that were not fitted to",
        "residual": "the same residual in embedding units: suspect's minus its matched reference's embeddings",
    },
    {"probe": "the probe that stands out most"},
    needs_images=True,
)
PROBES = Stage(
    "probes",
    "projlens_core.screen.stages.probes",
    "nats",
    {
        "nats": "log-probability that its own answers lose under the probe that unsettles it most, beyond base's loss",
        "notable": "probes that the verdict follows up, up to three",
    },
    {"probe": "the probe that unsettles it most"},
    needs_images=True,
)
VERDICT = Stage(
    "verdict",
    "projlens_core.screen.stages.verdict",
    "level",
    {"level": "2: demonstrated, 1: suspicious, 0: neither", "p": "of the trial, as the verdict has it"},
    {"says": "the verdict", "target": "the text that the backdoor brings"},
    needs_images=True,
)
STAGES = {stage.key: stage for stage in (WEIGHTS, REFERENCE, PROBES, VERDICT)}


def find(key: str) -> Stage:
    """The stage called `key`; NotFound, listing those there are, for any other."""
    if key not in STAGES:
        raise NotFound(f"There is no stage {key!r}; there are {', '.join(STAGES)}.")
    return STAGES[key]
