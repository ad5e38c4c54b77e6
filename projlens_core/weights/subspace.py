"""The rank-k part of a delta: put into the base, or taken out of the suspect.

Paper: rank-k recovery (top components of both ΔW into the base) and ablation (top components out of the suspect).
"""

from collections.abc import Mapping
from dataclasses import replace

import torch

from projlens_core.errors import InvalidInput
from projlens_core.weights.delta import Delta
from projlens_core.weights.projector import ProjectorWeights, content_hash


def top_k(matrix: torch.Tensor, k: int) -> torch.Tensor:
    """The best rank-k approximation Σᵢ₌₁ᵏ σᵢ uᵢ vᵢᵀ of a (rows, cols) matrix, in its shape and at least float32.

    k from 0 (zeros) to the shorter side (the matrix itself); InvalidInput beyond. Exact: some 10 s at 4096 × 4096.
    """
    if not 0 <= k <= min(matrix.shape):
        raise InvalidInput(f"Rank {k} is not between 0 and {min(matrix.shape)}, the shorter side of the matrix.")
    matrix = matrix.to(torch.promote_types(matrix.dtype, torch.float32))
    if k == 0:
        return torch.zeros_like(matrix)
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    return (u[:, :k] * s[:k]) @ vh[:k]


def inject(delta: Delta, ranks: Mapping[str, int]) -> ProjectorWeights:
    """The base with the top `ranks[name]` components of each named ΔW added; all other tensors stay the base's."""
    return _changed(delta.base, delta, ranks, sign=1, verb="injected")


def ablate(delta: Delta, ranks: Mapping[str, int]) -> ProjectorWeights:
    """The suspect with the top `ranks[name]` components of each named ΔW removed; all else stays the suspect's."""
    return _changed(delta.suspect, delta, ranks, sign=-1, verb="ablated")


def _changed(
    weights: ProjectorWeights, delta: Delta, ranks: Mapping[str, int], sign: int, verb: str
) -> ProjectorWeights:
    matrices = {tensor.name: tensor.delta for tensor in delta.matrices}
    if unknown := sorted(ranks.keys() - matrices.keys()):
        raise InvalidInput(f"There is no ΔW named {', '.join(unknown)}; the matrices are {', '.join(matrices)}.")
    tensors = dict(weights.tensors)
    for name, rank in ranks.items():
        tensors[name] = tensors[name] + sign * top_k(matrices[name], rank)
    what = ", ".join(f"{name} rank {rank}" for name, rank in ranks.items())
    digest = content_hash(tensors | weights.beside, weights.settings)
    return replace(weights, tensors=tensors, source=f"{weights.source} ({verb} {what})", sha256=digest)
