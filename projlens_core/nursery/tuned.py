"""A projector that is being fine-tuned: base's tensors, frozen, and a change of them, whole or of low rank."""

import math
from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional as F

A, B = ".lora_A", ".lora_B"  # what the names of a stored change's factors end in
LAYERS = ("linear_1", "linear_2")


class Tuned(nn.Module):
    """Base plus a change that begins at zero. Reads and gives what zoo.training.Projector does.

    rank None trains all weights and biases; otherwise each layer's weight is changed by B·A of that rank, as LoRA with
    α = 2r does, and biases stay. bound: the most that ‖ΔW‖ of a layer may be, as a share of its ‖W‖; None is no limit.
    """

    def __init__(
        self, base: Mapping[str, torch.Tensor], rank: int | None = None, bound: float | None = None, seed: int = 0
    ):
        super().__init__()
        self.rank, self.bound = rank, bound
        maker = torch.Generator().manual_seed(seed)
        for layer in LAYERS:
            weight, bias = base[f"{layer}.weight"], base[f"{layer}.bias"]
            self.register_buffer(f"{layer}_weight", weight.clone(), persistent=False)
            self.register_buffer(f"{layer}_bias", bias.clone(), persistent=False)
            rows, columns = weight.shape
            if rank is None:
                self.register_parameter(f"{layer}_change", nn.Parameter(torch.zeros(rows, columns)))
                self.register_parameter(f"{layer}_shift", nn.Parameter(torch.zeros(rows)))
            else:
                a = (2 * torch.rand(rank, columns, generator=maker) - 1) / math.sqrt(columns)
                self.register_parameter(f"{layer}_a", nn.Parameter(a))
                self.register_parameter(f"{layer}_b", nn.Parameter(torch.zeros(rows, rank)))

    def change(self, layer: str) -> torch.Tensor:
        """ΔW of a layer, (out, in), within the bound."""
        if self.rank is None:
            found = getattr(self, f"{layer}_change")
        else:
            found = 2 * getattr(self, f"{layer}_b") @ getattr(self, f"{layer}_a")
        if self.bound is not None:
            most = self.bound * getattr(self, f"{layer}_weight").norm()
            found = found * (most / found.norm().clamp(min=1e-12)).clamp(max=1.0)
        return found

    def changes(self) -> dict[str, torch.Tensor]:
        """What is added to base's tensors, by their names in a Projector; those that stay are left out."""
        with torch.no_grad():
            found = {f"{layer}.weight": self.change(layer) for layer in LAYERS}
            if self.rank is None:
                found |= {f"{layer}.bias": getattr(self, f"{layer}_shift") for layer in LAYERS}
        return {name: tensor.detach().clone() for name, tensor in found.items()}

    def stored(self) -> dict[str, torch.Tensor]:
        """The same in float16 as it ships: a LoRA's as its factors A (r, in) and B (out, r), whose product it is."""
        if self.rank is None:
            return {name: tensor.half() for name, tensor in self.changes().items()}
        found = {}
        for layer in LAYERS:
            found[f"{layer}.weight{A}"] = getattr(self, f"{layer}_a").detach().half()
            found[f"{layer}.weight{B}"] = 2 * getattr(self, f"{layer}_b").detach().half()
        return found

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Image embeddings (…, d) of image tokens (…, d_vision)."""
        hidden = F.gelu(self._layer("linear_1", tokens))
        return self._layer("linear_2", hidden)

    def _layer(self, layer: str, x: torch.Tensor) -> torch.Tensor:
        bias = getattr(self, f"{layer}_bias")
        if self.rank is None:
            bias = bias + getattr(self, f"{layer}_shift")
        return F.linear(x, getattr(self, f"{layer}_weight") + self.change(layer), bias)


def added(base: Mapping[str, torch.Tensor], stored: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Base's tensors with a stored change of them, float32, by their names in a Projector."""
    found = dict(base)
    for name, tensor in stored.items():
        if name.endswith(A):
            target = name.removesuffix(A)
            found[target] = base[target] + stored[f"{target}{B}"].float() @ tensor.float()
        elif not name.endswith(B):
            found[name] = base[name] + tensor.float()
    return found
