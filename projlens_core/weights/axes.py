"""The order of a convolution's axes: (out, in, rows, columns) in PyTorch, (out, rows, columns, in) in MLX.

Only the order differs, so shapes tell the two apart wherever a kernel is square and not as wide as it has channels.
"""

import torch


def channels_first(tensor: torch.Tensor) -> torch.Tensor:
    """A kernel in PyTorch's order, whichever of the two it is stored in; other tensors as they are.

    A kernel as wide as it has channels looks alike in both orders and is taken as PyTorch's.
    """
    if tensor.dim() < 4 or len(set(tensor.shape[1:-1])) > 1 or tensor.shape[-1] == tensor.shape[1]:
        return tensor
    return tensor.movedim(-1, 1).contiguous()


def moved(ours: tuple[int, ...], theirs: tuple[int, ...]) -> tuple[int, int] | None:
    """Which axis of `theirs` has to go where (as torch.movedim takes it) for its shape to be `ours`, if one of the two
    is stored in MLX's order; else None."""
    if not 3 <= len(ours) == len(theirs):
        return None
    if ours == (theirs[0], theirs[-1], *theirs[1:-1]):
        return -1, 1
    return (1, -1) if ours == (theirs[0], *theirs[2:], theirs[1]) else None
