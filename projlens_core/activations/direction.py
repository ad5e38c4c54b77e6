"""The drift direction: the one direction along which a changed projector pushes image embeddings (paper, claim 3)."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from projlens_core.errors import InvalidInput

DirectionKind = Literal["universal", "image", "pair", "given"]
NO_SHIFT = (
    "Base and suspect give the same embedding for every token, so there is no drift direction; "
    "compare two projectors that differ."
)
NULL_DRAWS = 10_000  # random directions that stand for chance
ROWS_AT_ONCE = 8192  # rows upcast to float64 at a time: 256 MB for embeddings of width 4096


@dataclass(frozen=True)
class Direction:
    """A unit vector in the language model's embedding space, and how much of the embedding shift lies along it."""

    vector: torch.Tensor  # (d,) float32, of length 1, on the CPU
    explained: float  # share of ‖ΔE‖² along the vector, 0 to 1; σ₁² / Σσ² for a fitted direction
    singular_values: np.ndarray  # (min(rows, d),) float64, of the ΔE it was fitted to or is judged on, descending
    kind: DirectionKind


def drift_direction(delta_e: torch.Tensor, kind: DirectionKind = "universal") -> Direction:
    """First right singular vector of the stacked, uncentred embedding shift ΔE (paper: ΔE = U Σ Vᵀ, v₀).

    delta_e is (T, d) for one image or (n, T, d) for a set; every token is one row. The sign, which a singular vector
    leaves open, is the one that makes the mean projection ΔE·v₀ positive. `kind` is only written into the result.

    It goes through the smaller Gram matrix (ΔEᵀΔE, d × d, or ΔE ΔEᵀ if there are fewer rows than d) in float64. This
    squares the condition number, so singular values below √ε₆₄·σ₁ ≈ 1.5e-8 σ₁ are lost, but a float32 ΔE carries
    nothing below ε₃₂·σ₁ ≈ 1.2e-7 σ₁ anyway; and its cost is linear in the number of images.

    Raises InvalidInput if ΔE is zero everywhere or not finite: then there is no direction.
    """
    rows = _finite_rows(delta_e)
    if rows.shape[0] >= rows.shape[1]:
        total = ShiftSum(rows.shape[1])
        total.add(rows)
        return total.direction(kind)
    if not rows.any():
        raise InvalidInput(NO_SHIFT)
    wide = rows.double()
    eigenvalues, eigenvectors = torch.linalg.eigh(wide @ wide.T)  # ascending
    return _direction(wide.T @ eigenvectors[:, -1], eigenvalues, _energy(rows), wide.sum(dim=0), kind)


class ShiftSum:
    """ΔEᵀΔE and ΣΔE of any number of tokens, added chunk by chunk: all that their common drift direction needs.

    d × d numbers in float64 (134 MB for embeddings 4096 wide), however many images there are.
    """

    def __init__(self, width: int):
        self.gram = torch.zeros(width, width, dtype=torch.float64)
        self._total = torch.zeros(width, dtype=torch.float64)
        self._rows = 0

    def add(self, delta_e: torch.Tensor) -> None:
        """Count in the tokens of (T, d) or (n, T, d); InvalidInput if they are not finite."""
        rows = _finite_rows(delta_e)
        for chunk in rows.split(ROWS_AT_ONCE):
            wide = chunk.double()
            self.gram.addmm_(wide.T, wide)
            self._total += wide.sum(dim=0)
        self._rows += len(rows)

    def __add__(self, other: "ShiftSum") -> "ShiftSum":
        both = ShiftSum(len(self._total))
        both.gram, both._total = self.gram + other.gram, self._total + other._total
        both._rows = self._rows + other._rows
        return both

    def direction(self, kind: DirectionKind = "universal") -> Direction:
        """The drift direction of all tokens added, as drift_direction gives it for tokens held in memory."""
        energy = float(self.gram.trace())
        if not energy:
            raise InvalidInput(NO_SHIFT)
        eigenvalues, eigenvectors = torch.linalg.eigh(self.gram)  # ascending
        found = _direction(eigenvectors[:, -1], eigenvalues, energy, self._total, kind)
        return replace(found, singular_values=found.singular_values[: self._rows])

    def shares(self, axes: torch.Tensor) -> np.ndarray:
        """Share of ‖ΔE‖² along each of the unit vectors axes (d, k): (k,) float64, 0 to 1; NaN if nothing moved."""
        axes = axes.double()
        along_axes = ((self.gram @ axes) * axes).sum(dim=0)
        return (along_axes / self.gram.trace()).numpy()


def along(vector: torch.Tensor, delta_e: torch.Tensor) -> Direction:
    """The direction of a vector from elsewhere (another model, the lens), judged on ΔE: its sign stays as given.

    Raises InvalidInput if the vector is zero, not finite, or of another width than ΔE.
    """
    rows = _rows(delta_e)
    if vector.shape != rows.shape[1:]:
        raise InvalidInput(
            f"The given direction has shape {tuple(vector.shape)}, but the embeddings are {rows.shape[1]} wide."
        )
    length = float(vector.double().norm())
    if not 0 < length < float("inf"):
        raise InvalidInput(f"The given direction has length {length}; give a finite vector that is not zero.")
    unit = (vector.double() / length).float()
    total = _energy(rows)
    explained = float((rows @ unit).double().square().sum()) / total if total else float("nan")
    if rows.shape[0] < rows.shape[1]:
        gram = rows.double() @ rows.double().T
    else:
        together = ShiftSum(rows.shape[1])
        together.add(rows)
        gram = together.gram
    singular_values = torch.linalg.eigvalsh(gram).flip(0).clamp_min(0).sqrt()
    return Direction(unit, explained, singular_values.numpy(), "given")


def shift_magnitude(delta_e: torch.Tensor, direction: Direction | torch.Tensor) -> torch.Tensor:
    """Signed shift ΔE·v₀ of each token, in units of the embedding space: (…, T, d) → (…, T)."""
    vector = direction.vector if isinstance(direction, Direction) else direction
    return delta_e @ vector.to(delta_e)


def direction_cosine(a: Direction | torch.Tensor, b: Direction | torch.Tensor) -> float:
    """Cosine between two directions, −1 to 1, each as it points.

    A drift direction points where its own mean shift goes. Where tokens are pushed to both sides about as far, that
    mean is next to zero and the sign an accident: whether two axes agree is then told by the magnitude alone.
    """
    u, v = (x.vector if isinstance(x, Direction) else x for x in (a, b))
    return float(torch.nn.functional.cosine_similarity(u.double(), v.double(), dim=0))


def random_squared_cosines(rng: np.random.Generator, dimensions: int, width: int) -> np.ndarray:
    """Squared cosines between random directions in `width` dimensions and any span of `dimensions` of them."""
    if dimensions in (0, width):
        return np.full(1, dimensions / width)
    return rng.beta(dimensions / 2, (width - dimensions) / 2, NULL_DRAWS)


def _direction(
    vector: torch.Tensor, eigenvalues: torch.Tensor, energy: float, total: torch.Tensor, kind: DirectionKind
) -> Direction:
    """From the leading eigenvector of a Gram matrix of ΔE, its eigenvalues (ascending), ‖ΔE‖² and ΣΔE."""
    vector = vector / vector.norm()
    unit = (vector * _sign(total, vector)).float()
    singular_values = eigenvalues.flip(0).clamp_min(0).sqrt()
    return Direction(unit, float(eigenvalues[-1]) / energy, singular_values.numpy(), kind)


def _rows(delta_e: torch.Tensor) -> torch.Tensor:
    if delta_e.dim() not in (2, 3) or 0 in delta_e.shape:
        raise InvalidInput(f"Expected an embedding shift (T, d) or (n, T, d), found shape {tuple(delta_e.shape)}.")
    return delta_e.reshape(-1, delta_e.shape[-1])  # (rows, d)


def _finite_rows(delta_e: torch.Tensor) -> torch.Tensor:
    rows = _rows(delta_e)
    if not torch.isfinite(rows).all():
        raise InvalidInput("The embedding shift holds NaN or infinity; check the weights of both projectors.")
    return rows


def _energy(rows: torch.Tensor) -> float:
    """‖ΔE‖² summed in float64."""
    return float(sum(chunk.double().square().sum() for chunk in rows.split(ROWS_AT_ONCE)))


def _sign(total: torch.Tensor, vector: torch.Tensor) -> float:
    """+1 or −1, so that the mean projection is positive; if it is exactly zero, so that the largest entry is."""
    mean = float(total @ vector)
    decisive = mean if mean else float(vector[vector.abs().argmax()])
    return 1.0 if decisive > 0 else -1.0
