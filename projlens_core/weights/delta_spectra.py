"""How one change of a projector is built: spectrum and noise edges of each of its matrices."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from projlens_core.runtime.progress import Progress, silent
from projlens_core.weights.delta import Delta, TensorDelta
from projlens_core.weights.noise import BulkEdge, NoiseEdge, bulk_edge, noise_edge
from projlens_core.weights.spectrum import Spectrum, numerical_zero, spectrum
from projlens_core.weights.triplets import Triplets, leading


@dataclass(frozen=True)
class DeltaSpectra:
    """A delta with, for each of its matrices by canonical name, its spectrum, the edge of its shuffled entries and that
    of the Marchenko–Pastur law (None where no bulk follows it)."""

    delta: Delta
    spectra: dict[str, Spectrum]
    edges: dict[str, NoiseEdge]
    bulk_edges: dict[str, BulkEdge | None]

    def triplets(self, name: str, k: int, *, exact: bool = False) -> Triplets | None:
        """At most k leading triplets of the matrix `name`, without those that rounding makes; None if none is left."""
        values = self.spectra[name].values
        tensor = next(tensor for tensor in self.delta.matrices if tensor.name == name)
        k = min(k, int((values > numerical_zero(tensor.shape, float(values[0]))).sum()))
        return leading(tensor.delta, k, exact=exact) if k else None


def decompose_delta(delta: Delta, progress: Progress = silent) -> DeltaSpectra:
    """Take the spectra of all matrices of a delta."""
    return decompose_deltas([delta], progress)[0]


def decompose_deltas(deltas: Sequence[Delta], progress: Progress = silent) -> list[DeltaSpectra]:
    """Dissect several deltas, in their order; progress counts the matrices of all."""
    total, done = sum(len(delta.matrices) for delta in deltas), 0
    found = []
    for delta in deltas:
        spectra: dict[str, Spectrum] = {}
        edges: dict[str, NoiseEdge] = {}
        bulks: dict[str, BulkEdge | None] = {}
        # The largest first: what the others leave behind in the heap would add to the most memory that it takes.
        for tensor in sorted(delta.matrices, key=lambda tensor: math.prod(tensor.shape), reverse=True):
            progress("Singular spectra", done, total)
            spectra[tensor.name] = spectrum(tensor.delta)
            edges[tensor.name] = noise_edge(tensor.delta, known=spectra[tensor.name], least=_least(tensor))
            bulks[tensor.name] = bulk_edge(spectra[tensor.name].values, tensor.shape, _least(tensor))
            done += 1
        names = [tensor.name for tensor in delta.matrices]  # in running order
        spectra, edges = {name: spectra[name] for name in names}, {name: edges[name] for name in names}
        found.append(DeltaSpectra(delta, spectra, edges, {name: bulks[name] for name in names}))
    progress("Singular spectra", total, total)
    return found


def _least(tensor: TensorDelta) -> float:
    """The σ below which nothing can be told from the rounding of quantised weights, which follows no law of noise."""
    floor = tensor.rounding
    return floor.sigma if floor is not None and floor.quantised and floor.sigma else 0.0
