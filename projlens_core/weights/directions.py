"""Along which inputs a change of a projector reads: the leading right singular vectors of its first layer's ΔW.

Whatever switches a backdoor of low rank on has to be read along them (paper, claim 2).
"""

import torch

from projlens_core.weights.projector import ProjectorWeights


def input_directions(base: ProjectorWeights, suspect: ProjectorWeights, most: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(k, m, d) and their singular values (k,), descending, k ≤ most: each over the m tokens of width d that the first
    layer reads together. k = 0 where no one layer reads tokens directly, and where it is not changed.
    """
    width = base.d_token
    none = torch.empty(0, 1, width), torch.empty(0)
    first = next((n for layer in base.family.layers if (n := layer.entrance) and base.tensors[n].dim() == 2), None)
    if len(base.family.entrances) != 1 or first is None:
        return none
    delta = suspect.tensors[first].float() - base.tensors[first].float()
    together, rest = divmod(delta.shape[1], width)
    if rest or not bool(delta.any()):
        return none
    _, values, right = torch.linalg.svd(delta, full_matrices=False)
    k = min(most, int((values > 1e-5 * values[0]).sum()))
    right, values = right[:k], values[:k]
    merges = [layer for layer in base.family.layers if layer.kind == "merge"]
    if merges and merges[0].order == "channel":
        return right.unflatten(1, (width, together)).transpose(1, 2), values
    return right.unflatten(1, (together, width)), values
