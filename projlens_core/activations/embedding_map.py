"""Embeddings of the same images or patches under several projectors, on the two axes along which they vary most."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

AXES = 2
EXTRA, ROUNDS = (
    6,
    60,
)  # vectors iterated beside those that are wanted, and how often: six digits where axes are distinct


@dataclass(frozen=True)
class EmbeddingMap:
    """Points on two principal axes that all projectors and conditions share (PCA of all points together)."""

    points: dict[str, dict[str, np.ndarray]]  # role → condition → (n, 2), from the mean of all points, embedding units
    explained: tuple[float, float]  # share of the variance of all points along each axis, 0 to 1

    def ends(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """The least and largest coordinate of any point on each axis, a little beyond: the axes of all panels."""
        everything = np.concatenate([each for by_condition in self.points.values() for each in by_condition.values()])
        low, high = everything.min(axis=0), everything.max(axis=0)
        room = np.where(high > low, 0.05 * (high - low), 1.0)
        return tuple(zip((low - room).tolist(), (high + room).tolist(), strict=True))  # type: ignore[return-value]


def embedding_map(embedded: Mapping[str, Mapping[str, torch.Tensor]]) -> EmbeddingMap:
    """The map of embeddings (n, d) by role and condition.

    An axis points to the side on which its largest entry is positive: its sign means nothing. Where nothing varies
    all points are at the origin, and no variance is explained.
    """
    sets = [(role, condition, each) for role, by in embedded.items() for condition, each in by.items()]
    rows = torch.cat([each.double() for _, _, each in sets])  # (m, d)
    rows = rows - rows.mean(dim=0)
    total = float(rows.square().sum())
    placed = rows @ _axes(rows)  # (m, 2)
    shares = (placed.square().sum(dim=0) / total).tolist() if total else [0.0, 0.0]
    points: dict[str, dict[str, np.ndarray]] = {role: {} for role in embedded}
    for (role, condition, _), part in zip(sets, placed.split([len(each) for _, _, each in sets]), strict=True):
        points[role][condition] = part.numpy()
    return EmbeddingMap(points, (shares[0], shares[1]))


def _axes(rows: torch.Tensor) -> torch.Tensor:
    """The two leading right singular vectors (d, 2) of centred rows (m, d), by subspace iteration from a fixed start.

    Only two of hundreds or thousands are wanted: a whole decomposition would take most of a page's time.
    """
    width = rows.shape[1]
    count = min(AXES + EXTRA, width)
    start = torch.randn(width, count, dtype=rows.dtype, generator=torch.Generator().manual_seed(0))
    basis, _ = torch.linalg.qr(start)
    for _ in range(ROUNDS):
        basis, _ = torch.linalg.qr(rows.T @ (rows @ basis))
    _, _, right = torch.linalg.svd(rows @ basis, full_matrices=False)
    found = torch.zeros(width, AXES, dtype=rows.dtype)
    leading = basis @ right[:AXES].T
    found[:, : leading.shape[1]] = leading
    decisive = found.gather(0, found.abs().argmax(dim=0, keepdim=True))
    return found * torch.where(decisive < 0, -1.0, 1.0)
