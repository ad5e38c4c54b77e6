"""A suspect's projector whose values may move as far as its form allows."""

from collections.abc import Mapping

import torch
from torch.func import functional_call

from projlens_core.repair.form import Form, LowRank
from projlens_core.weights.projector import ProjectorWeights, as_module


class Trainable:
    """A projector in float32 with gradients: whole tensors as they are, what an adapter adds as its two factors."""

    def __init__(self, form: Form, weights: ProjectorWeights):
        """weights: where it starts; tensors that the form does not let change stay theirs."""
        self._module = as_module(weights)
        self._fixed = {name: tensor.float() for name, tensor in weights.tensors.items() if name not in form.slots}
        self._whole: dict[str, torch.Tensor] = {}
        self._factors: dict[str, tuple[LowRank, torch.Tensor, torch.Tensor]] = {}
        for name, slot in form.slots.items():
            start = weights.tensors[name].float()
            if isinstance(slot, LowRank):
                stored = slot.as_stored(start)
                a, b = (stored[info.name].float().clone().requires_grad_(True) for info in (slot.a, slot.b))
                self._factors[name] = slot, a, b
            else:
                self._whole[name] = start.clone().requires_grad_(True)

    def groups(self, base: ProjectorWeights, share: float) -> list[dict]:
        """What an optimiser moves, and at which rate: a share of what the fine-tune moved a value by, as root mean
        square over its tensor; of factors, of their own. What it left as it was stays so.
        """
        moved = [(value, value.detach() - base.tensors[name].float()) for name, value in self._whole.items()]
        moved += [(factor, factor.detach()) for _, a, b in self._factors.values() for factor in (a, b)]
        rates = [(value, share * float(by.pow(2).mean().sqrt())) for value, by in moved]
        return [{"params": [value], "lr": rate, "highest": rate} for value, rate in rates]

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """All tensors by canonical name, with the graph to the parameters."""
        low = {name: slot.before + slot.scale * (b @ a) for name, (slot, a, b) in self._factors.items()}
        return self._fixed | self._whole | low

    def __call__(self, tokens: torch.Tensor, tensors: Mapping[str, torch.Tensor] | None = None) -> torch.Tensor:
        """Image embeddings of what the projector reads; tensors: those to use, if they are at hand."""
        return functional_call(self._module, dict(self.tensors if tensors is None else tensors), (tokens,))

    def values(self) -> dict[str, torch.Tensor]:
        """A copy of the tensors, without the graph."""
        return {name: tensor.detach().clone() for name, tensor in self.tensors.items()}
