"""Singular spectrum of a delta: values, cumulative energy, ranks, and the edge above which a value is no noise.

Paper: "low-rank structure" (claim 2): spectra of ΔW₁, ΔW₂ and their cumulative energy.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from projlens_core.errors import InvalidInput

_SMALL = 1024  # shorter side up to which torch.linalg.svdvals in float64 is quick, some 0.5 s at most
_LANCZOS_STEPS = 40  # relative error of σ₁ of pure noise, the hardest case, below 1e-4 at 4096 × 4096
_NULL_ENTRIES = 2**22  # entries to shuffle in all: the larger the matrix, the less its shuffles differ
_MOST_SHUFFLES = 4
_TW_DEVIATION = 1.27  # standard deviation of the Tracy–Widom law for real matrices


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

    Always in float64, whatever the weights' dtype: up to _SMALL by torch.linalg.svdvals; beyond it as square roots of
    the eigenvalues of the Gram matrix. Squaring loses half of the digits, and half of float64's leave an error of
    1e-7 of σ₁ at the very bottom of the spectrum and of 1e-12 where σ is 1 % of σ₁: better than svdvals in float32
    (1e-6 throughout), which takes twice as long at 4096 × 4096.
    """
    values = _singular_values(_checked(matrix))
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
    relation between rows and columns. Its σ₁ is measured on a few seeded shuffles and follows the Tracy–Widom law at
    the Marchenko–Pastur edge (Johnstone 2001); the edge lies three standard deviations above the mean, so that noise
    shows a spike in some 3 of 1,000 matrices. Spikes inflate the entries that are shuffled; so the edge is lowered
    to the energy left without the spikes found, until no further value exceeds it, but never below what rounding of
    float32 entries alone leaves (as numpy.linalg.matrix_rank draws the line). A spectrum that falls without ever
    turning into a bulk, as long training leaves it, would draw the edge down to its last value: where more than half
    of the values would be spikes, the edge is not lowered at all, and `method` says so.
    `known` is the matrix's spectrum, if it is at hand. A matrix of zeros has edge 0 and no spikes.
    """
    matrix = _checked(matrix)
    squares = (known or spectrum(matrix)).values ** 2
    total = squares.sum()
    shuffles = max(1, min(_MOST_SHUFFLES, _NULL_ENTRIES // matrix.numel()))
    if total == 0:
        return NoiseEdge(0.0, 0, "shuffled entries", shuffles, seed)
    generator = torch.Generator().manual_seed(seed)
    mean = float(np.mean([_largest(_shuffled(matrix, generator), generator) for _ in range(shuffles)]))
    deviations = 3 * math.sqrt(1 + 1 / shuffles)  # the mean of a few shuffles varies too
    full = mean * (1 + deviations * _relative_deviation(*matrix.shape))
    rounding = max(matrix.shape) * float(np.finfo(np.float32).eps) * math.sqrt(squares[0])
    spikes, edge = 0, full
    while spikes < len(squares) and squares[spikes] > edge**2:
        spikes += 1
        edge = max(full * math.sqrt(squares[spikes:].sum() / total), rounding)
    if 2 * spikes > len(squares):
        return NoiseEdge(full, int((squares > full**2).sum()), "shuffled entries, not lowered", shuffles, seed)
    return NoiseEdge(edge, spikes, "shuffled entries", shuffles, seed)


def _shuffled(matrix: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    order = torch.randperm(matrix.numel(), generator=generator)
    return matrix.reshape(-1).index_select(0, order).reshape(matrix.shape)


def _relative_deviation(rows: int, cols: int) -> float:
    """Standard deviation of σ₁ of a noise matrix, as a share of σ₁."""
    r, c = math.sqrt(rows), math.sqrt(cols)
    return _TW_DEVIATION * 0.5 * (1 / r + 1 / c) ** (1 / 3) / (r + c)


def _checked(matrix: torch.Tensor) -> torch.Tensor:
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise InvalidInput(f"A singular spectrum needs a matrix, found shape {tuple(matrix.shape)}.")
    if not torch.isfinite(matrix).all():
        raise InvalidInput("A singular spectrum needs finite values, found NaN or infinity.")
    return matrix.detach().cpu()


def _singular_values(matrix: torch.Tensor) -> np.ndarray:
    """All singular values, descending, float64. Scaled to entries ≤ 1, as squares may leave the range of floats."""
    scale = matrix.abs().max().item()
    if scale == 0:
        return np.zeros(min(matrix.shape))
    matrix = matrix.double() / scale
    if min(matrix.shape) <= _SMALL:
        return torch.linalg.svdvals(matrix).numpy() * scale
    gram = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    squares = torch.linalg.eigvalsh(gram).flip(0).clamp_min(0)  # rounding may leave a zero just below zero
    return squares.sqrt().numpy() * scale


def _largest(matrix: torch.Tensor, generator: torch.Generator) -> float:
    """σ₁ by Golub–Kahan–Lanczos with full reorthogonalisation, as all values would take seconds at 4096 × 4096."""
    scale = matrix.abs().max().item()
    step = torch.randn(matrix.shape[1], generator=generator).to(matrix.dtype)
    basis, images = [], []
    while len(basis) < min(_LANCZOS_STEPS, *matrix.shape) and step.norm() > 0:
        basis.append(step / step.norm())
        images.append(matrix @ basis[-1] / scale)
        step = matrix.T @ images[-1] / scale
        known = torch.stack(basis)  # (steps, cols)
        for _ in range(2):  # once leaves rounding behind, twice does not
            step = step - known.T @ (known @ step)
    return torch.linalg.svdvals(torch.stack(images))[0].item() * scale
