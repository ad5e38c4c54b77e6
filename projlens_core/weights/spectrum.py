"""Singular spectrum of a delta: values, cumulative energy, ranks, and the edge above which a value is no noise.

Paper: "low-rank structure" (claim 2): spectra of ΔW₁, ΔW₂ and their cumulative energy.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from projlens_core.errors import InvalidInput

SHUFFLES = 3
_LANCZOS_STEPS = 48  # relative error of σ₁ of pure noise, the hardest case, below 1e-4 at 4096 × 4096
_EXACT_BELOW = 512  # shorter side up to which the exact decomposition is as fast
_MARGIN = 4.0  # in Tracy–Widom units, see noise_edge


@dataclass(frozen=True)
class Spectrum:
    """values: (k,) float64, descending, k = the matrix's shorter side. energy: (k,) cumulative share of Σσ², 0 to 1.

    stable_rank: ‖A‖²_F/σ₁². effective_rank: exp of the entropy of σ/Σσ (Roy & Vetterli 2007). Both lie between 1 and
    k; for a zero matrix both are 0 and energy is all 0.
    """

    values: np.ndarray
    energy: np.ndarray
    stable_rank: float
    effective_rank: float

    @property
    def frobenius(self) -> float:
        """‖A‖_F."""
        return float(np.sqrt(np.sum(self.values**2)))


@dataclass(frozen=True)
class NoiseEdge:
    """edge: σ that a matrix of the same entries without structure would not reach. spikes: how many values do."""

    edge: float
    spikes: int
    method: str
    shuffles: int
    seed: int


def spectrum(matrix: torch.Tensor) -> Spectrum:
    """All singular values of a (rows, cols) matrix, exactly; InvalidInput if it is not 2-D, empty or not finite.

    Computed in float32, or float64 if the matrix comes so: 16-bit weights differ by values that float32 holds, its
    error is some 1e-6 of σ₁, well below any bulk of interest, and float64 costs more than twice the time. Values are
    returned as float64 so that sums over them are exact enough.
    """
    values = _svdvals(_checked(matrix))
    squares = values**2
    total = squares.sum()
    if total == 0:
        return Spectrum(values, np.zeros_like(values), 0.0, 0.0)
    share = values / values.sum()
    entropy = -np.sum(share * np.log(share, where=share > 0, out=np.zeros_like(share)))
    energy = np.minimum(np.cumsum(squares) / total, 1.0)
    return Spectrum(values, energy, float(total / squares[0]), float(np.exp(entropy)))


def noise_edge(matrix: torch.Tensor, seed: int = 0, known: Spectrum | None = None) -> NoiseEdge:
    """The largest singular value to expect of the same entries without structure, and how many values exceed it.

    Null: the entries in random order, which keeps their distribution (heavy tails, untouched zeros) and removes every
    correlation between rows and columns. Its σ₁ is measured on SHUFFLES seeded shuffles; the mean plus _MARGIN units
    of the Tracy–Widom scale is the edge, so that pure noise shows a spike in fewer than 1 of 100 matrices (σ₁ of
    noise has a standard deviation of 1.27 units). Spikes inflate the entries that are shuffled; therefore the edge is
    lowered to the energy that is left without the spikes found, until no further value exceeds it.
    `known` is the matrix's spectrum, if it is at hand. A matrix whose every entry is zero has edge 0 and no spikes.
    """
    matrix = _checked(matrix)
    values = (known or spectrum(matrix)).values
    squares = values**2
    rows, cols = matrix.shape
    generator = torch.Generator().manual_seed(seed)
    flat = matrix.reshape(-1)
    tops = []
    for _ in range(SHUFFLES if squares.sum() else 0):
        order = torch.randperm(flat.numel(), generator=generator)
        tops.append(_largest(flat[order].reshape(rows, cols), generator))
    root = math.sqrt(rows) + math.sqrt(cols)
    unit = 0.5 * (1 / math.sqrt(rows) + 1 / math.sqrt(cols)) ** (1 / 3) / root  # of σ₁, relative (Johnstone 2001)
    full = float(np.mean(tops)) * (1 + _MARGIN * unit) if tops else 0.0
    spikes, edge = 0, full
    while spikes < len(values) and values[spikes] > edge:
        spikes += 1
        edge = full * math.sqrt(squares[spikes:].sum() / squares.sum())
    return NoiseEdge(edge, spikes, "shuffled entries", SHUFFLES, seed)


def _checked(matrix: torch.Tensor) -> torch.Tensor:
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise InvalidInput(f"A singular spectrum needs a matrix, found shape {tuple(matrix.shape)}.")
    if not torch.isfinite(matrix).all():
        raise InvalidInput("A singular spectrum needs finite values, found NaN or infinity.")
    matrix = matrix.detach()
    return matrix if matrix.dtype == torch.float64 else matrix.float()


def _svdvals(matrix: torch.Tensor) -> np.ndarray:
    """Exact singular values, descending. Scaled to entries ≤ 1 first: squares of 1e-25 or 1e25 leave float32."""
    scale = matrix.abs().max().item()
    if scale == 0:
        return np.zeros(min(matrix.shape))
    return torch.linalg.svdvals(matrix / scale).double().cpu().numpy() * scale


def _largest(matrix: torch.Tensor, generator: torch.Generator) -> float:
    """σ₁, by Golub–Kahan–Lanczos with full reorthogonalisation where the exact values would be slow."""
    if min(matrix.shape) <= _EXACT_BELOW:
        return float(_svdvals(matrix)[0])
    scale = matrix.abs().max().item()
    right = torch.randn(matrix.shape[1], generator=generator, dtype=matrix.dtype)
    basis = [right / right.norm()]
    images = [matrix @ basis[0] / scale]
    for _ in range(_LANCZOS_STEPS - 1):
        step = matrix.T @ images[-1] / scale
        known = torch.stack(basis)  # (steps, cols)
        for _ in range(2):  # twice is enough to stay orthogonal in floating point (Kahan, Parlett)
            step = step - known.T @ (known @ step)
        if step.norm() == 0:
            break
        basis.append(step / step.norm())
        images.append(matrix @ basis[-1] / scale)
    return float(torch.linalg.svdvals(torch.stack(images))[0]) * scale
