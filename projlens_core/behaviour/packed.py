"""A language model's matrices, arranged once as oneDNN multiplies them, and not anew in every product.

PyTorch multiplies float32 matrices on a CPU with MKL, which lays a matrix out anew each time. Answers are many products
of few rows with the same matrices: those take half of the time like this, those of whole prompts an eighth less. The
numbers are the same but for rounding.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

ROWS = 100  # of the product that the arrangement is for; others are hardly slower with it


class PackedLinear(nn.Module):
    """nn.Linear for inference in float32 on a CPU; its weight is kept in oneDNN's arrangement alone."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.in_features, self.out_features, self.bias = linear.in_features, linear.out_features, linear.bias
        self._packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), ROWS)

    @property
    def weight(self) -> torch.Tensor:
        """(out_features, in_features), the very numbers it was made of; a copy each time."""
        return self._packed.to_dense()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (…, in_features) → (…, out_features); gradients reach x."""
        if x.requires_grad:
            return _Product.apply(x, self)
        return torch.ops.mkldnn._linear_pointwise(x, self._packed, self.bias, "none", [], "")

    @cached_property
    def transposed(self) -> torch.Tensor:
        """The transposed weight in the same arrangement: what gradients are multiplied with, made when one is."""
        return torch.ops.mkldnn._reorder_linear_weight(self.weight.T.contiguous(), ROWS)


class _Product(torch.autograd.Function):
    """What oneDNN multiplies, with the gradient that PyTorch does not know for it."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, layer: PackedLinear) -> torch.Tensor:
        ctx.layer = layer
        return torch.ops.mkldnn._linear_pointwise(x, layer._packed, layer.bias, "none", [], "")

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return torch.ops.mkldnn._linear_pointwise(gradient, ctx.layer.transposed, None, "none", [], ""), None


def named_tensors(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """What state_dict() of the model would hold if nothing in it were packed, in the order of the names; a packed
    weight is unpacked only as it is reached.
    """
    held = model.state_dict()
    packed = {f"{path}.weight": part for path, part in model.named_modules() if isinstance(part, PackedLinear)}
    for name in sorted({*held, *packed}):
        yield name, packed[name].weight if name in packed else held[name]


def pack(model: PreTrainedModel) -> None:
    """Replace the linear layers of the language model's blocks, and what makes logits, by their packed form.

    A weight that is also an embedding's stays there, and is packed as a copy. Nothing happens where PyTorch has no
    oneDNN, and to weights that are not float32 on a CPU.
    """
    if not _possible():
        return
    parts = [blocks(model), model.get_output_embeddings()]
    spoken = {id(module) for part in parts if part is not None for module in part.modules()}
    for path, module in list(model.named_modules()):
        if id(module) in spoken and type(module) is nn.Linear and _fits(module.weight):
            parent, _, name = path.rpartition(".")
            setattr(model.get_submodule(parent), name, PackedLinear(module))


def blocks(model: PreTrainedModel) -> nn.ModuleList | None:
    """The list of the language model's blocks, which some models keep one level deeper; None if there is none."""
    decoder = model.get_decoder()
    for holder in (decoder, decoder.get_decoder(), getattr(decoder, "model", None)):
        if (blocks := getattr(holder, "layers", None)) is not None:
            return blocks
    return None


def _possible() -> bool:
    # PyTorch's own compiler rests on both; they are not documented, and so may go
    return torch.backends.mkldnn.is_available() and all(
        hasattr(torch.ops.mkldnn, name) for name in ("_reorder_linear_weight", "_linear_pointwise")
    )


def _fits(weight: torch.Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype == torch.float32
