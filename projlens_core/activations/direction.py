"""The drift direction: the one direction along which a changed projector pushes image embeddings (paper, claim 3)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from projlens_core.errors import InvalidInput

Kind = Literal["universal", "image", "pair", "given"]
ROWS_AT_ONCE = 8192  # rows upcast to float64 at a time: 256 MB for embeddings of width 4096


@dataclass(frozen=True)
class Direction:
    """A unit vector in the language model's embedding space, and how much of the embedding shift lies along it."""

    vector: torch.Tensor  # (d,) float32, of length 1, on the CPU
    explained: float  # share of ‖ΔE‖² along the vector, 0 to 1; σ₁² / Σσ² for a fitted direction
    singular_values: np.ndarray  # (min(rows, d),) float64, of the ΔE it was fitted to or is judged on, descending
    kind: Kind


def drift_direction(delta_e: torch.Tensor, kind: Kind = "universal") -> Direction:
    """First right singular vector of the stacked, uncentred embedding shift ΔE (paper: ΔE = U Σ Vᵀ, v₀).

    delta_e is (T, d) for one image or (n, T, d) for a set; every token is one row. The sign, which a singular vector
    leaves open, is the one that makes the mean projection ΔE·v₀ positive. `kind` is only written into the result.

    It goes through the smaller Gram matrix (ΔEᵀΔE, d × d, or ΔE ΔEᵀ if there are fewer rows than d) in float64. This
    squares the condition number, so singular values below √ε₆₄·σ₁ ≈ 1.5e-8 σ₁ are lost, but a float32 ΔE carries
    nothing below ε₃₂·σ₁ ≈ 1.2e-7 σ₁ anyway; and its cost is linear in the number of images.

    Raises InvalidInput if ΔE is zero everywhere or not finite: then there is no direction.
    """
    rows = _rows(delta_e)
    if not torch.isfinite(rows).all():
        raise InvalidInput("The embedding shift holds NaN or infinity; check the weights of both projectors.")
    if not rows.any():
        raise InvalidInput(
            "Base and suspect give the same embedding for every token, so there is no drift direction; "
            "compare two projectors that differ."
        )
    total = _energy(rows)
    if rows.shape[0] < rows.shape[1]:
        wide = rows.double()
        eigenvalues, eigenvectors = torch.linalg.eigh(wide @ wide.T)  # ascending
        vector = wide.T @ eigenvectors[:, -1]
    else:
        eigenvalues, eigenvectors = torch.linalg.eigh(_gram(rows))
        vector = eigenvectors[:, -1]
    vector = vector / vector.norm()
    singular_values = eigenvalues.flip(0).clamp_min(0).sqrt()
    unit = (vector * _sign(rows, vector)).float()
    return Direction(unit, float(eigenvalues[-1]) / total, singular_values.numpy(), kind)


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
    gram = rows.double() @ rows.double().T if rows.shape[0] < rows.shape[1] else _gram(rows)
    singular_values = torch.linalg.eigvalsh(gram).flip(0).clamp_min(0).sqrt()
    return Direction(unit, explained, singular_values.numpy(), "given")


def shift_magnitude(delta_e: torch.Tensor, direction: Direction | torch.Tensor) -> torch.Tensor:
    """Signed shift ΔE·v₀ of each token, in units of the embedding space: (…, T, d) → (…, T)."""
    vector = direction.vector if isinstance(direction, Direction) else direction
    return delta_e @ vector.to(delta_e)


def direction_cosine(a: Direction | torch.Tensor, b: Direction | torch.Tensor) -> float:
    """Cosine between two directions, −1 to 1; the signs count, since each points where its own mean shift goes."""
    u, v = (x.vector if isinstance(x, Direction) else x for x in (a, b))
    return float(torch.nn.functional.cosine_similarity(u.double(), v.double(), dim=0))


def _rows(delta_e: torch.Tensor) -> torch.Tensor:
    if delta_e.dim() not in (2, 3) or 0 in delta_e.shape:
        raise InvalidInput(f"Expected an embedding shift (T, d) or (n, T, d), found shape {tuple(delta_e.shape)}.")
    return delta_e.reshape(-1, delta_e.shape[-1])  # (rows, d)


def _energy(rows: torch.Tensor) -> float:
    """‖ΔE‖² summed in float64."""
    return float(sum(chunk.double().square().sum() for chunk in rows.split(ROWS_AT_ONCE)))


def _gram(rows: torch.Tensor) -> torch.Tensor:
    """ΔEᵀΔE in float64, (d, d), without a float64 copy of all rows."""
    gram = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64)
    for chunk in rows.split(ROWS_AT_ONCE):
        wide = chunk.double()
        gram.addmm_(wide.T, wide)
    return gram


def _sign(rows: torch.Tensor, vector: torch.Tensor) -> float:
    """+1 or −1, so that the mean projection is positive; if it is exactly zero, so that the largest entry is."""
    mean = float(rows.mean(dim=0, dtype=torch.float64) @ vector)
    decisive = mean if mean else float(vector[vector.abs().argmax()])
    return 1.0 if decisive > 0 else -1.0
