"""Where noise ends in a singular spectrum: the edge above which a value is a spike, by two nulls.

Shuffled entries: the same numbers in random order. It asks nothing of the numbers, so it is the edge that is counted
and drawn with. Marchenko–Pastur: the law of independent entries of one variance, fitted to the bulk that is there. It
does not take the spikes' own energy for noise and sees weaker spikes; but it holds only where the bulk follows the law.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from projlens_core.weights.spectrum import Spectrum, finite_matrix, numerical_zero, spectrum

_LANCZOS_STEPS = 40  # relative error of σ₁ of pure noise, the hardest case, below 1e-4 at 4096 × 4096
_NULL_ENTRIES = 2**22  # entries to shuffle in all: the larger the matrix, the less its shuffles differ
_MOST_SHUFFLES = 4
_TW_DEVIATION = 1.27  # standard deviation of the Tracy–Widom law for real matrices
_FEWEST = 16  # values that have quantiles worth a fit
_QUANTILES = np.linspace(0.1, 0.9, 81)  # of the bulk, at which the law is matched: neither end, where it is hardest
_MOST_MISFIT = 0.05


@dataclass(frozen=True)
class NoiseEdge:
    """edge: σ that a matrix of the same entries without structure would not reach. spikes: how many values do."""

    edge: float
    spikes: int
    method: str
    shuffles: int
    seed: int


@dataclass(frozen=True)
class BulkEdge:
    """The Marchenko–Pastur law fitted to the bulk of a spectrum.

    edge: σ that noise of the bulk's variance would not reach; spikes: how many values do. deviation: standard
    deviation of one entry of that noise. misfit: the largest distance between a quantile of the bulk and the law's, as
    a share of the law's upper end: 0 where the bulk is such noise, above 0.05 (`fits` false) where it is not, and the
    edge then means nothing.
    """

    edge: float
    spikes: int
    deviation: float
    misfit: float

    @property
    def fits(self) -> bool:
        """Whether the bulk follows the law closely enough for the edge to mean something."""
        return self.misfit <= _MOST_MISFIT


def noise_edge(matrix: torch.Tensor, seed: int = 0, known: Spectrum | None = None, least: float = 0.0) -> NoiseEdge:
    """The largest singular value to expect of the same entries without structure, and how many values exceed it.

    Null: the entries in random order, which keeps their distribution (heavy tails, untouched zeros) and removes every
    relation between rows and columns. Its σ₁ is measured on a few seeded shuffles and follows the Tracy–Widom law at
    the Marchenko–Pastur edge (Johnstone 2001); the edge lies three standard deviations above the mean, so that noise
    shows a spike in some 3 of 1,000 matrices. Spikes inflate the entries that are shuffled; so the edge is lowered
    to the energy left without the spikes found, until no further value exceeds it, but never below what rounding of
    float32 entries alone leaves (as numpy.linalg.matrix_rank draws the line). A spectrum that falls without ever
    turning into a bulk, as long training leaves it, would draw the edge down to its last value: where more than half
    of the values would be spikes, the edge is not lowered at all, and `method` says so.
    `known` is the matrix's spectrum, if it is at hand. `least`: what the edge does not lie below, since rounding of
    quantised weights, whose size differs from group to group, can reach it. A matrix of zeros has edge 0 and no spikes.
    """
    found, squares = _shuffled_edge(matrix, seed, known)
    if squares is None or found.edge >= least:
        return found
    return replace(found, edge=least, spikes=int((squares > least**2).sum()), method="rounding of quantised weights")


def _shuffled_edge(matrix: torch.Tensor, seed: int, known: Spectrum | None) -> tuple[NoiseEdge, np.ndarray | None]:
    """The edge, and the squares of the singular values, None where all are zero."""
    matrix = finite_matrix(matrix)
    squares = (known or spectrum(matrix)).values ** 2
    total = squares.sum()
    shuffles = max(1, min(_MOST_SHUFFLES, _NULL_ENTRIES // matrix.numel()))
    if total == 0:
        return NoiseEdge(0.0, 0, "shuffled entries", shuffles, seed), None
    generator = torch.Generator().manual_seed(seed)
    mean = float(np.mean([_largest(_shuffled(matrix, generator), generator) for _ in range(shuffles)]))
    deviations = 3 * math.sqrt(1 + 1 / shuffles)  # the mean of a few shuffles varies too
    full = mean * (1 + deviations * _relative_deviation(*matrix.shape))
    rounding = numerical_zero(matrix.shape, math.sqrt(squares[0]))
    spikes, edge = 0, full
    while spikes < len(squares) and squares[spikes] > edge**2:
        spikes += 1
        edge = max(full * math.sqrt(squares[spikes:].sum() / total), rounding)
    if 2 * spikes > len(squares):
        count = int((squares > full**2).sum())
        return NoiseEdge(full, count, "shuffled entries, not lowered", shuffles, seed), squares
    return NoiseEdge(edge, spikes, "shuffled entries", shuffles, seed), squares


def bulk_edge(values: np.ndarray, shape: tuple[int, ...], least: float = 0.0) -> BulkEdge | None:
    """The upper end of the Marchenko–Pastur law fitted to the bulk of all singular values (k,) of a matrix of `shape`.

    With independent entries of variance s² the values of a rows × cols matrix fill the interval s·(√long ± √short)
    with a known density (Marchenko & Pastur 1967); the aspect ratio is known, s is not. It is the median ratio of the
    bulk's quantiles to the law's, from 10 to 90 %. Values beyond the edge are taken out and the rest fitted again
    until none is left beyond it. As for shuffled entries the edge lies three standard deviations of the Tracy–Widom
    law above the largest value to expect, and not below what rounding leaves.
    None where there is no bulk to fit: fewer than 16 values, half of them zero, or more than a quarter of
    them beyond the edge, as where long training has left its mark in all directions. `least`: see noise_edge.
    """
    short, long = sorted(shape)
    law = _law_quantiles(short / long) * math.sqrt(long)  # of entries of variance 1
    top = math.sqrt(short) + math.sqrt(long)
    spikes = 0
    while len(values) >= _FEWEST and 4 * spikes <= len(values):
        observed = np.quantile(values[spikes:], _QUANTILES)
        deviation = float(np.median(observed / law))
        if deviation == 0:
            return None
        misfit = float(np.abs(observed - deviation * law).max() / (deviation * top))
        edge = deviation * top * (1 + 3 * _relative_deviation(*shape))
        edge = max(edge, numerical_zero(shape, float(values[0])), least)
        beyond = int((values > edge).sum())
        if beyond <= spikes:
            return BulkEdge(edge, beyond, deviation, misfit)
        spikes = beyond
    return None


def _law_quantiles(aspect: float) -> np.ndarray:
    """Quantiles of singular values, in units of √long, under the Marchenko–Pastur law with short/long = aspect.

    With λ = 1 + a − 2√a·cos θ the density in θ is smooth up to both ends: 2 sin²θ / (π λ), θ from 0 to π.
    """
    theta = np.linspace(0, np.pi, 4001)[1:]
    squares = 1 + aspect - 2 * math.sqrt(aspect) * np.cos(theta)
    cumulative = np.cumsum(np.sin(theta) ** 2 / squares)
    return np.sqrt(np.interp(_QUANTILES, cumulative / cumulative[-1], squares))


def _shuffled(matrix: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The entries in random order: all at once, or, where they are too many for the processor's cache, row by row.

    Such rows are shuffled each by itself, dealt out, one entry of each row to every other (the transpose), and shuffled
    again: every entry may come to lie anywhere, in half of the time that swaps all over the memory take.
    """
    rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator).item()))
    values = matrix.clone(memory_format=torch.contiguous_format)
    if values.numel() <= _NULL_ENTRIES:
        rng.shuffle(values.view(-1).numpy())  # in place: a list of places would take as much memory again
        return values
    rng.permuted(values.numpy(), axis=1, out=values.numpy())
    values = values.T.reshape(matrix.shape)
    rng.permuted(values.numpy(), axis=1, out=values.numpy())
    return values


def _relative_deviation(rows: int, cols: int) -> float:
    """Standard deviation of σ₁ of a noise matrix, as a share of σ₁."""
    r, c = math.sqrt(rows), math.sqrt(cols)
    return _TW_DEVIATION * 0.5 * (1 / r + 1 / c) ** (1 / 3) / (r + c)


def _largest(matrix: torch.Tensor, generator: torch.Generator) -> float:
    """σ₁ by Golub–Kahan–Lanczos with full reorthogonalisation, as all values would take seconds at 4096 × 4096."""
    scale = max(matrix.max().item(), -matrix.min().item())
    step = torch.randn(matrix.shape[1], generator=generator).to(matrix.dtype)
    basis: list[torch.Tensor] = []
    images: list[torch.Tensor] = []
    while len(basis) < min(_LANCZOS_STEPS, *matrix.shape) and step.norm() > 0:
        basis.append(step / step.norm())
        images.append(matrix @ basis[-1] / scale)
        step = matrix.T @ images[-1] / scale
        known = torch.stack(basis)  # (steps, cols)
        for _ in range(2):  # once leaves rounding behind, twice does not
            step = step - known.T @ (known @ step)
    return torch.linalg.svdvals(torch.stack(images))[0].item() * scale
