"""Do two changes use the same directions? Principal angles between their leading subspaces, beside chance."""

from dataclasses import dataclass

import numpy as np
import torch

from projlens_core.errors import InvalidInput
from projlens_core.weights.triplets import Triplets

_DRAWS = 400
_LOW = 0.025  # of random subspaces, the share that lies closer than angles_low


@dataclass(frozen=True)
class Overlap:
    """Two k-dimensional subspaces of one d-dimensional space.

    angles: (k,) principal angles in degrees, ascending: 0 is a shared direction, 90 an orthogonal one. shared: mean
    squared cosine, 0 to 1, the share of one subspace that lies in the other. Chance, for two random subspaces: the
    i-th angle's median and the value below which it falls once in 40 times, (k,) each; shared is k/d on average.
    """

    dimension: int
    angles: np.ndarray
    shared: float
    chance_median: np.ndarray
    chance_low: np.ndarray

    @property
    def chance_shared(self) -> float:
        """What random subspaces share on average."""
        return len(self.angles) / self.dimension

    @property
    def closer_than_chance(self) -> int:
        """How many of the angles are smaller than those of all but 2.5 % of random subspaces."""
        return int((self.angles < self.chance_low).sum())


@dataclass(frozen=True)
class SidedOverlap:
    """Overlap of the leading subspaces of two ΔW: left where they write (output), right what they read (input)."""

    left: Overlap
    right: Overlap


def overlap(first: Triplets, second: Triplets, k: int) -> SidedOverlap:
    """Compare the k leading directions of one ΔW with those of another of the same shape; errors as subspaces."""
    return SidedOverlap(subspaces(first.u[:, :k], second.u[:, :k]), subspaces(first.v[:, :k], second.v[:, :k]))


def subspaces(first: torch.Tensor, second: torch.Tensor, seed: int = 0) -> Overlap:
    """Principal angles between the spans of two matrices with orthonormal columns, (d, k) each.

    The singular values of firstᵀ second are the angles' cosines (Björck & Golub 1973). InvalidInput if the shapes
    differ, or if k is more than half of d: larger subspaces must meet, whatever they are.
    """
    d, k = first.shape
    if second.shape != first.shape or not 1 <= 2 * k <= d:
        raise InvalidInput(
            f"Subspaces of {d} × {k} and {' × '.join(map(str, second.shape))} cannot be compared; "
            "take as many directions of both, at most half of the dimension."
        )
    cosines = torch.linalg.svdvals(first.double().T @ second.double()).clamp(0, 1).numpy()
    chance = _chance(d, k, seed)
    return Overlap(
        dimension=d,
        angles=np.degrees(np.arccos(cosines)),
        shared=float(np.mean(cosines**2)),
        chance_median=np.median(chance, axis=0),
        chance_low=np.quantile(chance, _LOW, axis=0),
    )


def _chance(d: int, k: int, seed: int) -> np.ndarray:
    """Principal angles of random k-dimensional subspaces of d dimensions, in degrees: (draws, k), ascending.

    One subspace may be the first k axes. With G a random Gaussian d × k matrix, its first k rows A and the others B,
    the squared cosines are the eigenvalues of AᵀA (AᵀA + BᵀB)⁻¹; and BᵀB, a Wishart matrix, is drawn by its Cholesky
    factor (Bartlett 1933), so no draw costs more than k × k numbers, whatever d is.
    """
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((_DRAWS, k, k))
    factor = np.tril(rng.standard_normal((_DRAWS, k, k)), -1)
    factor[:, range(k), range(k)] = np.sqrt(rng.chisquare(d - k - np.arange(k), (_DRAWS, k)))
    inside, outside = a.transpose(0, 2, 1) @ a, factor @ factor.transpose(0, 2, 1)
    squared = np.linalg.eigvals(np.linalg.solve(inside + outside, inside)).real  # similar to a symmetric matrix
    return np.sort(np.degrees(np.arccos(np.sqrt(np.clip(squared, 0, 1)))), axis=1)
