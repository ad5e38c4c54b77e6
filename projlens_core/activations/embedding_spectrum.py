"""The singular spectrum of each image's embedding shift ΔE, and how far images share a direction (paper, claim 3)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from projlens_core.activations.direction import Direction, random_squared_cosines
from projlens_core.errors import InvalidInput
from projlens_core.stats.bootstrap import LEVELS, MIN_IMAGES, resample_counts

RESAMPLES = 1000


@dataclass(frozen=True)
class EmbeddingSpectrum:
    """The uncentred ΔE (T, d) of each of n images, taken apart; k = min(T, d)."""

    values: np.ndarray  # (n, k) singular values, descending, embedding units
    energy: np.ndarray  # (n, k) cumulative share of ‖ΔE‖², 0 to 1
    own: torch.Tensor  # (n, d) unit vectors: each image's own drift direction


@dataclass(frozen=True)
class Band:
    """Curves of n images, rank by rank: (k,) each.

    std is the spread between images (n − 1 in the denominator). low and high bound the mean: percentiles of 1,000
    bootstrap means over images; NaN, as std is, where there are fewer than five images or one.
    """

    mean: np.ndarray
    std: np.ndarray
    low: np.ndarray
    high: np.ndarray
    images: int


def embedding_spectrum(own: Sequence[Direction]) -> EmbeddingSpectrum:
    """From the drift direction of each image alone, which comes with all singular values of its ΔE.

    Those are exact down to 1.5e-8 of σ₁ (see drift_direction). Raises InvalidInput without images or if they have
    different numbers of tokens, whose spectra cannot be laid over each other.
    """
    lengths = {len(direction.singular_values) for direction in own}
    if len(lengths) != 1:
        raise InvalidInput(
            f"A mean spectrum needs images with equally many tokens; found {sorted(lengths) or 'no images'}."
        )
    values = np.stack([direction.singular_values for direction in own])  # (n, k)
    squares = values**2
    energy = np.minimum(squares.cumsum(axis=1) / squares.sum(axis=1, keepdims=True), 1.0)
    return EmbeddingSpectrum(values, energy, torch.stack([direction.vector for direction in own]))


def band(curves: np.ndarray) -> Band:
    """Mean curve of (n, k), its spread over images and its 95 % interval."""
    n, k = curves.shape
    unknown = np.full(k, np.nan)
    std = curves.std(axis=0, ddof=1) if n > 1 else unknown
    low = high = unknown
    if n >= MIN_IMAGES:
        low, high = np.quantile(resample_counts(n, RESAMPLES, 0) @ curves / n, LEVELS, axis=0)
    return Band(curves.mean(axis=0), std, low, high, n)


def own_cosines(spectrum: EmbeddingSpectrum, universal: Direction) -> np.ndarray:
    """|cos| between each image's own drift direction and the universal one: (n,) float64, 0 to 1.

    Without the sign, which each image's own mean shift decides and which says nothing where that mean is near zero.
    """
    cosines = (spectrum.own.double() @ universal.vector.double()).abs()
    return cosines.clamp(max=1.0).numpy()


def chance_cosine(width: int) -> float:
    """|cos| that 97.5 % of random directions in `width` dimensions stay below, whatever they are compared with."""
    squared = random_squared_cosines(np.random.default_rng(0), 1, width)
    return float(np.sqrt(np.quantile(squared, LEVELS[1])))
