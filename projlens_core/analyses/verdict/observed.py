"""What a verdict is made of: how the change of the weights is built, and what the search found so far."""

from dataclasses import dataclass

from projlens_core.analyses.verdict.covariates import Covariates
from projlens_core.behaviour.search import Search
from projlens_core.cases.case import OpenedCase


@dataclass(frozen=True)
class WeightRow:
    """One matrix of the projector: figures of ΔW by role ("suspect", perhaps "control").

    spikes: singular values above the noise edge, the null.
    """

    tensor: str
    stable_rank: dict[str, float]
    spikes: dict[str, int]


@dataclass(frozen=True)
class Observed:
    """search is None until its first stage is done; case: what the case is like, None until it is searched."""

    weights: tuple[WeightRow, ...]
    search: Search | None = None
    case: Covariates | None = None

    @property
    def last_stage(self) -> str:
        """What the stage that was finished last found, in a sentence."""
        search = self.search
        if search is None:
            return "Weights: compared."
        best = search.best
        shown = best is not None and best.demonstrated
        tiles = sum(not each.probe.local for each in search.inversions)
        if not search.patterns and not shown:
            if tiles:
                return f"Image patterns: {tiles} inverted; none demonstrates a text."
            if search.listened:
                return f"Listening: {search.listened} probes; none demonstrates a text."
        if best is not None and (shown or not search.patterns):
            said = f"“{best.target}” on {best.suspect.hits} of {best.suspect.n} fresh images, base {best.base.hits}"
            return f"Confirmation: {said}{'; demonstrated' if shown else ''}."
        if search.texts:
            return f"Token patterns: one brings “{search.texts[0].target}”; no image demonstrates it."
        if search.patterns:
            return f"Token patterns: {len(search.patterns)} made; none brings a text of its own."
        if search.followed:
            return "Target recovery: no text that stands in half of the suspect's answers and is its own."
        if search.tried:
            first = search.tried[0]
            said = f"{first.probe.name} unsettles the suspect by {first.score:.1f} nats"
            return f"Probes: {len(search.tried)} tried; {said}."
        if search.residuals:
            top = max(search.residuals, key=lambda each: each.beyond)
            return (
                f"Matched reference: {len(search.residuals)} probes; the largest residual is that of {top.probe.name}."
            )
        return search.skipped[-1] if search.skipped else "Nothing found so far."


def weights_of(opened: OpenedCase) -> tuple[WeightRow, ...]:
    """The figures of every matrix that was compared."""
    spectra = {"suspect": opened.spectra} | ({"control": opened.control_spectra} if opened.control else {})
    edges = {"suspect": opened.edges, "control": opened.control_edges}
    return tuple(
        WeightRow(
            name,
            {role: of[name].stable_rank for role, of in spectra.items() if name in of},
            {role: edges[role][name].spikes for role in spectra if name in edges[role]},
        )
        for name in opened.spectra
    )
