"""Leading singular triplets of a matrix, in a fraction of the time that all of them take, with a checked error."""

from dataclasses import dataclass

import torch

from projlens_core.errors import InvalidInput

TOLERANCE = 0.05  # residual of a triplet, as a share of its σ, beyond which the randomised way is not trusted
_LEAST = 32  # triplets sought even if fewer are asked for: so the top 3 are the first 3 of the top 5, bit for bit
_EXTRA = 8  # columns of the random start beyond the triplets sought
_STEPS = 10  # blocks of the Krylov space; at 4096 × 4096 they leave 3 % in a flat bulk, 1e-6 at a spike
_ROUNDING = 2e-5  # residual, as a share of σ₁, that float32 alone may leave where σ is next to nothing


@dataclass(frozen=True)
class Triplets:
    """The k largest singular values of a (rows, cols) matrix with their vectors, A vᵢ = σᵢ uᵢ, largest first.

    u: (rows, k) and v: (cols, k), orthonormal columns; values: (k,); all in the matrix's dtype, at least float32.
    residuals: (k,), ‖Aᵀuᵢ − σᵢvᵢ‖ as measured. There is a singular value within this distance of σᵢ, and where σᵢ
    stands alone its error is the square of this over the gap: a spike with residual 1e-3 σ has six digits. In a
    crowded bulk vectors are not determined, by whatever way; only the span is, and what it holds of the energy.
    exact: whether they come from a full decomposition.
    """

    u: torch.Tensor
    values: torch.Tensor
    v: torch.Tensor
    residuals: torch.Tensor
    exact: bool

    def first(self, k: int) -> "Triplets":
        """The k largest of them."""
        return Triplets(self.u[:, :k], self.values[:k], self.v[:, :k], self.residuals[:k], self.exact)


def leading(matrix: torch.Tensor, k: int, *, exact: bool = False, tolerance: float = TOLERANCE) -> Triplets:
    """The k leading singular triplets of a (rows, cols) matrix, k from 1 to its shorter side; else InvalidInput.

    Block Krylov iteration from a seeded random start (Musco & Musco 2015): some 0.4 s for 32 triplets at 4096 × 4096
    against 9 s for all. Its block is wider than k, so that equal singular values are not missed. Every triplet's
    residual is measured; if one is above `tolerance` · σ, and wherever the matrix is so small that it saves nothing,
    all triplets are computed. `exact` asks for that at once.
    """
    if matrix.ndim != 2 or not 1 <= k <= min(matrix.shape):
        raise InvalidInput(f"{k} singular triplets were asked of a matrix of shape {tuple(matrix.shape)}.")
    matrix = matrix.detach().to(torch.promote_types(matrix.dtype, torch.float32))
    scale = matrix.abs().max()
    if not torch.isfinite(scale):
        raise InvalidInput("Singular triplets need finite values, found NaN or infinity.")
    if scale > 0:
        matrix = matrix / scale  # squares of entries may leave the range of floats
    sought = min(max(k, _LEAST), min(matrix.shape))
    found = None
    if not exact and 2 * _STEPS * (sought + _EXTRA) <= min(matrix.shape):
        found = _krylov(matrix, sought).first(k)
        if (found.residuals > torch.clamp(tolerance * found.values, min=_ROUNDING * found.values[0])).any():
            found = None
    if found is None:
        u, values, vh = torch.linalg.svd(matrix, full_matrices=False)
        found = _measured(matrix, u, values, vh.T, exact=True).first(k)
    return Triplets(found.u, found.values * scale, found.v, found.residuals * scale, found.exact)


def _krylov(matrix: torch.Tensor, k: int) -> Triplets:
    """The best triplets within the span of Ω, AᵀA Ω, (AᵀA)² Ω, …, kept orthonormal block by block."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(matrix.shape[1], k + _EXTRA, generator=generator)
    block = torch.linalg.qr(start.to(matrix))[0]
    blocks, images = [block], [matrix @ block]
    while len(blocks) < _STEPS:
        block = matrix.T @ images[-1]  # (cols, k + extra)
        known = torch.cat(blocks, 1)
        for _ in range(3):  # where nothing new is left, once leaves rounding along `known`, twice rounding of rounding
            block = torch.linalg.qr(block - known @ (known.T @ block))[0]
        blocks.append(block)
        images.append(matrix @ block)
    left, small = torch.linalg.qr(torch.cat(images, 1))
    u, values, vh = torch.linalg.svd(small)
    return _measured(matrix, left @ u[:, :k], values[:k], torch.cat(blocks, 1) @ vh[:k].T, exact=False)


def _measured(matrix: torch.Tensor, u: torch.Tensor, values: torch.Tensor, v: torch.Tensor, *, exact: bool) -> Triplets:
    """With residuals of one side: A v = σ u holds by construction."""
    return Triplets(u, values, v, (matrix.T @ u - v * values).norm(dim=0), exact)
