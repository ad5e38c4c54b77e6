"""Spectral features of ΔW and a linear model, after "Weight space detection of backdoors" (arXiv 2602.15195).

Of each matrix of the change: its size, how concentrated its singular values are, their entropy, and the kurtosis of its
entries. A logistic regression is fitted to members whose truth is known, so unlike all else here it sees poisoned ones
of other families; its logit is the score. The paper's features are of a LoRA's B·A, here they are of any change.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from projlens_core.weights.spectrum import spectrum

PENALTY = 0.1  # of the squared weights, on standardised features
STEPS = 50  # of Newton's method


def features(change: Mapping[str, torch.Tensor]) -> np.ndarray:
    """(5 · matrices,) of the matrices of a change, by name: log ‖ΔW‖, share of the largest singular value's energy and
    of the five largest, entropy of the energy in nats, log kurtosis of the entries.
    """
    found: list[float] = []
    for _, matrix in sorted(change.items()):
        if matrix.dim() != 2:
            continue
        found += _of(matrix)
    return np.array(found)


def _of(matrix: torch.Tensor) -> list[float]:
    decomposed = spectrum(matrix)
    if decomposed.frobenius == 0:
        return [-20.0, 0.0, 0.0, 0.0, 0.0]
    share = (decomposed.values / decomposed.frobenius) ** 2
    entropy = -float(np.sum(share * np.log(share, where=share > 0, out=np.zeros_like(share))))
    entries = matrix.double().flatten()
    centred = entries - entries.mean()
    kurtosis = float((centred**4).mean() / (centred**2).mean() ** 2)
    return [
        float(np.log(decomposed.frobenius)), float(share[0]), float(share[:5].sum()), entropy, float(np.log(kurtosis)),
    ]  # fmt: skip


class Linear:
    """A logistic regression with a ridge on standardised features (n, d), its truth (n,) 1 for poisoned."""

    def __init__(self, known: np.ndarray, poisoned: Sequence[bool]):
        truth = np.array(poisoned, dtype=float)
        if truth.min() == truth.max():
            raise ValueError("a linear model needs honest and poisoned members")
        self.middle, self.spread = known.mean(axis=0), known.std(axis=0) + 1e-9
        x = self._standard(known)
        # each kind counts as much as the other, however many there are of it
        weight = np.where(truth == 1, 0.5 / truth.sum(), 0.5 / (1 - truth).sum())
        ridge = PENALTY * np.eye(x.shape[1])
        ridge[-1, -1] = 0  # the constant
        self.weights = np.zeros(x.shape[1])
        for _ in range(STEPS):
            p = 1 / (1 + np.exp(-np.clip(x @ self.weights, -30, 30)))
            slope = x.T @ (weight * (p - truth)) + ridge @ self.weights
            curve = (x * (weight * p * (1 - p))[:, None]).T @ x + ridge
            self.weights -= np.linalg.solve(curve + 1e-9 * np.eye(len(curve)), slope)

    def _standard(self, features: np.ndarray) -> np.ndarray:
        scaled = (features - self.middle) / self.spread
        return np.hstack([scaled, np.ones((len(scaled), 1))])

    def scores(self, unknown: np.ndarray) -> np.ndarray:
        """(n,): logits of members' features (n, d)."""
        return self._standard(unknown) @ self.weights
