"""Along which inputs a change of a projector reads: the leading right singular vectors of its first layer's ΔW.

Whatever switches a backdoor of low rank on has to be read along them (paper, claim 2).
"""

from dataclasses import dataclass

import torch

from projlens_core.weights.projector import ProjectorWeights
from projlens_core.weights.triplets import leading

NOISE = 1e-5  # share of the largest singular value up to which another is rounding


@dataclass(frozen=True)
class Directions:
    """vectors (k, m, d), each over the m tokens of width d that are read together, and their singular values (k,),
    descending. k = 0 where there are none.
    """

    vectors: torch.Tensor
    values: torch.Tensor

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def together(self) -> int:
        """How many tokens are read together."""
        return self.vectors.shape[1]

    def places(self, tokens: torch.Tensor) -> torch.Tensor:
        """(n, T/m, m · d): tokens (n, T, d) by what is read together."""
        return tokens.unflatten(1, (-1, self.together)).flatten(2)

    def spread(self, tokens: torch.Tensor) -> torch.Tensor:
        """(k,): standard deviation of tokens (n, T, d) along each direction."""
        return (self.places(tokens) @ self.vectors.flatten(1).T).std((0, 1))


def leading_inputs(matrix: torch.Tensor, most: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The leading right singular vectors (k, columns) of a matrix that is not 0, and their values; k ≤ most."""
    found = leading(matrix, min(most, *matrix.shape))
    k = int((found.values > NOISE * found.values[0]).sum())
    return found.v[:, :k].T, found.values[:k]


def input_directions(base: ProjectorWeights, suspect: ProjectorWeights, most: int) -> Directions:
    """At most so many; none where no one layer reads tokens directly, and where it is not changed."""
    width = base.d_token
    none = Directions(torch.empty(0, 1, width), torch.empty(0))
    first = next((n for layer in base.family.layers if (n := layer.entrance) and base.tensors[n].dim() == 2), None)
    if len(base.family.entrances) != 1 or first is None:
        return none
    delta = suspect.tensors[first].float() - base.tensors[first].float()
    together, rest = divmod(delta.shape[1], width)
    if rest or not bool(delta.any()):
        return none
    right, values = leading_inputs(delta, most)
    merges = [layer for layer in base.family.layers if layer.kind == "merge"]
    if merges and merges[0].order == "channel":
        return Directions(right.unflatten(1, (width, together)).transpose(1, 2), values)
    return Directions(right.unflatten(1, (together, width)), values)
