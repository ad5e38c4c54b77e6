"""A part of a delta, by the numbers of its singular components: put into the base, or taken out of the suspect.

Paper: rank-k recovery (top components of both ΔW into the base) and ablation (the top k, ranks 2..k or one rank out
of the suspect).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from projlens_core.errors import InvalidInput
from projlens_core.weights.delta import Delta
from projlens_core.weights.projector import ProjectorWeights, content_hash
from projlens_core.weights.triplets import Triplets, leading

Ranks = int | Sequence[int]  # the top k, or component numbers from 1 on: (3,) is the third alone, range(2, 6) is 2 to 5


def components(matrix: torch.Tensor, ranks: Ranks, *, known: Triplets | None = None) -> torch.Tensor:
    """The sum of the chosen components σᵢ uᵢ vᵢᵀ of a (rows, cols) matrix, in its shape and at least float32.

    known: its leading triplets, if they are at hand; with too few of them, and without, they are found (see leading).
    No components give zeros, all of them the matrix itself. InvalidInput, saying which exist, for others.
    """
    chosen = _numbers(ranks, min(matrix.shape))
    matrix = matrix.to(torch.promote_types(matrix.dtype, torch.float32))
    if not chosen:
        return torch.zeros_like(matrix)
    if len(chosen) == min(matrix.shape):
        return matrix.clone()
    if known is None or len(known.values) < max(chosen):
        known = leading(matrix, max(chosen))
    columns = [number - 1 for number in chosen]
    return (known.u[:, columns] * known.values[columns]) @ known.v[:, columns].T


def decompose(delta: Delta, k: int) -> dict[str, Triplets]:
    """The leading triplets of each ΔW, at most k, by name: the `known` of inject and ablate while k is moved."""
    return {t.name: leading(t.delta, min(k, *t.shape)) for t in delta.matrices}


def inject(
    delta: Delta,
    ranks: Mapping[str, Ranks],
    *,
    biases: str = "base",
    known: Mapping[str, Triplets] | None = None,
) -> ProjectorWeights:
    """The base with the chosen components of each named ΔW added.

    Matrices that are not named stay the base's. biases: "base" or "suspect", whose tensors that are no matrices
    (biases, and norms where there are any) the result has.
    """
    return _changed(delta, delta.base, 1, ranks, biases, known)


def ablate(
    delta: Delta,
    ranks: Mapping[str, Ranks],
    *,
    biases: str = "suspect",
    known: Mapping[str, Triplets] | None = None,
) -> ProjectorWeights:
    """The suspect with the chosen components of each named ΔW removed; all else as inject, from the suspect."""
    return _changed(delta, delta.suspect, -1, ranks, biases, known)


def _changed(
    delta: Delta,
    weights: ProjectorWeights,
    sign: int,
    ranks: Mapping[str, Ranks],
    biases: str,
    known: Mapping[str, Triplets] | None,
) -> ProjectorWeights:
    matrices = {tensor.name: tensor for tensor in delta.matrices}
    if unknown := sorted(ranks.keys() - matrices.keys()):
        raise InvalidInput(f"There is no ΔW named {', '.join(unknown)}; the matrices are {', '.join(matrices)}.")
    lender = {"base": delta.base, "suspect": delta.suspect}.get(biases)
    if lender is None:
        raise InvalidInput(f"Biases can be those of the base or the suspect, not of {biases!r}.")
    tensors = {name: (weights if name in matrices else lender).tensors[name] for name in weights.tensors}
    for name, chosen in ranks.items():
        part = components(matrices[name].delta, chosen, known=(known or {}).get(name))
        tensors[name] = tensors[name] + sign * part
    what = ", ".join(f"{name} {_said(chosen)}" for name, chosen in ranks.items()) or "nothing"
    source = f"{weights.source} ({'injected' if sign > 0 else 'ablated'} {what}, biases of the {biases})"
    digest = content_hash(tensors | weights.adjacent, weights.settings)
    return replace(weights, tensors=tensors, source=source, sha256=digest)


def _numbers(ranks: Ranks, side: int) -> list[int]:
    """The component numbers that `ranks` means, ascending."""
    if isinstance(ranks, int):
        if not 0 <= ranks <= side:
            raise InvalidInput(f"Rank {ranks} is not between 0 and {side}, the shorter side of the matrix.")
        return list(range(1, ranks + 1))
    chosen = sorted(set(ranks))
    if chosen and not 1 <= chosen[0] <= chosen[-1] <= side:
        raise InvalidInput(f"Components {chosen[0]} to {chosen[-1]} were asked of a matrix that has 1 to {side}.")
    return chosen


def _said(ranks: Ranks) -> str:
    if isinstance(ranks, int):
        return f"rank {ranks}"
    return f"components {', '.join(map(str, sorted(set(ranks)))) or 'none'}"
