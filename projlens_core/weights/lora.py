"""What low-rank factors add to one stored tensor, for every kind of module that PEFT adapts.

ΔW = s·B·A with A (r, in) and B (out, r); s is the settings' scale. A convolution's A is (r, in, …), of the kernel's
size; an embedding and a Conv1D store their weight as (in, out). DoRA then scales each output's weights to a learned
length (Liu et al. 2024). lora_bias adds s·b to the module's bias.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.runtime.text import listed
from projlens_core.weights.adapter_settings import AdapterSettings
from projlens_core.weights.checkpoint import Checkpoint
from projlens_core.weights.quantised.tensor import Stored
from projlens_core.weights.stored import FLOATS, MAX_TENSOR

# Modules of transformers' Conv1D, whose weight is (in, out) though its matrix may be square.
_CONV1D = (".c_attn", ".c_proj", ".c_fc", ".q_attn")


@dataclass(frozen=True)
class Factors:
    """The factors of one module, by their names in the adapter's files.

    module: its name as PEFT knows it. parts: {"A": name, "B": …, "magnitude_vector": …, "B.bias": …} or
    {"embedding_A": …, "embedding_B": …}. named: the adapters that the names tell apart, one in all but odd files.
    """

    module: str
    parts: dict[str, str]
    named: frozenset[str]

    def check(self, settings: AdapterSettings, stored: Checkpoint) -> None:
        """Unsupported or InvalidInput unless these are whole, of one adapter, and B·A is what they add."""
        label, module = settings.label, listed([self.module])
        if len(self.named) > 1:
            raise InvalidInput(
                f"{label} holds several adapters of {module} ({listed(sorted(self.named))}); keep the one that counts."
            )
        settings.check_factors()
        settings.check_module(self.module)
        known = {"embedding_A", "embedding_B"} if self._embeds else {"A", "B", "B.bias"}
        if odd := sorted(self.parts.keys() - known - {"magnitude_vector"}):
            names = listed(self.parts[part] for part in odd)
            raise Unsupported(f"{label} holds {names}, no part of a LoRA known here; have it merged.")
        if not self._names_of_pair() <= self.parts.keys():
            raise InvalidInput(f"{label} has only one of the factors A and B of {module}; fetch it again.")
        if settings.uses_dora != ("magnitude_vector" in self.parts):
            raise InvalidInput(f"{label} says use_dora={settings.uses_dora}, but {module} disagrees; fetch it again.")
        for name in self.parts.values():
            info = stored.info(name)
            if info.dtype not in FLOATS:
                raise Unsupported(f"{label} stores {listed([name])} as {info.dtype}, expected {', '.join(FLOATS)}.")
            if 4 * info.numel > MAX_TENSOR:
                raise InvalidInput(f"{label} claims shape {info.shape} for {listed([name])}, more than a factor has.")

    def added_to_weight(
        self, target: Stored, weight: Callable[[], torch.Tensor], settings: AdapterSettings, stored: Checkpoint
    ) -> torch.Tensor:
        """The target's values with what the factors add, as float32. weight: reads what they are added to, after all
        shapes were found to fit."""
        self.check(settings, stored)
        of_a, of_b = (stored.info(self.parts[part]) for part in sorted(self._names_of_pair()))
        turned = self._fit(target, of_a, of_b, settings)
        scale = settings.scale(self.module, of_a.shape[0])
        a, b = (stored.read(info.name).float().flatten(1) for info in (of_a, of_b))  # (r, in), (out, r)
        before = weight().float()
        before = before.T if turned else before.flatten(1)  # (out, in)
        changed = before + scale * (b @ a)
        if "magnitude_vector" in self.parts:
            length = self._length(stored, changed.shape[0], settings)
            changed = changed * (length / torch.linalg.vector_norm(changed, dim=1)).unsqueeze(1)
        return changed.T.contiguous() if turned else changed.reshape(target.shape)

    def added_to_bias(
        self, target: Stored, bias: Callable[[], torch.Tensor], settings: AdapterSettings, stored: Checkpoint
    ) -> torch.Tensor:
        """The module's bias with what lora_bias adds, as float32."""
        self.check(settings, stored)
        shift, b = stored.info(self.parts["B.bias"]), stored.info(self.parts["B"])
        if len(target.shape) != 1 or shift.shape != target.shape or len(b.shape) < 2:
            raise self._misfit(target, settings, shift)
        return bias().float() + settings.scale(self.module, b.shape[1]) * stored.read(shift.name).float()

    @property
    def _embeds(self) -> bool:
        return "embedding_A" in self.parts or "embedding_B" in self.parts

    def _names_of_pair(self) -> set[str]:
        return {f"embedding_{side}" if self._embeds else side for side in "AB"}

    def _fit(self, target: Stored, a: Stored, b: Stored, settings: AdapterSettings) -> bool:
        """Whether the target is stored as (in, out); InvalidInput if the factors do not fit it either way."""
        rank = a.shape[0] if a.shape else 0
        whole = len(a.shape) >= 2 and b.shape[1:2] == (rank,) and rank > 0 and all(n == 1 for n in b.shape[2:])
        straight = whole and target.shape == (b.shape[0], *a.shape[1:])
        turned = whole and len(a.shape) == 2 and target.shape == (a.shape[1], b.shape[0])
        if turned and self._embeds:
            return True
        # PEFT heeds fan_in_fan_out for a Conv1D alone: for a linear layer, as in every projector, it is reset.
        is_conv1d = turned and settings.stores_transposed and (not straight or f".{self.module}".endswith(_CONV1D))
        if not self._embeds and (straight or is_conv1d):
            return is_conv1d
        if len(target.shape) == 3 and len(a.shape) == 2:
            raise Unsupported(
                f"{settings.label} changes {listed([target.name])}, in which many matrices lie together, by factors "
                "for all of them; have it merged."
            )
        raise self._misfit(target, settings, b, a)

    def _length(self, stored: Checkpoint, rows: int, settings: AdapterSettings) -> torch.Tensor:
        info = stored.info(self.parts["magnitude_vector"])
        if info.numel != rows:
            raise InvalidInput(
                f"{settings.label} has {info.numel:,} lengths (DoRA) for the {rows:,} rows of {listed([self.module])}; "
                "give the base it was trained on."
            )
        return stored.read(info.name).float().reshape(-1)  # (out,)

    def _misfit(self, target: Stored, settings: AdapterSettings, *factors: Stored) -> InvalidInput:
        shapes = " and ".join(str(info.shape) for info in factors)
        return InvalidInput(
            f"{settings.label} changes {listed([target.name])} of shape {target.shape} by factors of shapes {shapes}, "
            "which do not fit; give the base it was trained on."
        )
