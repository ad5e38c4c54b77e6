"""In which form a suspect is stored, and so which of its projector's tensors a repair may change, and how far.

A whole tensor may become any other of its shape; what an adapter adds to a tensor keeps the adapter's rank; a tensor of
the base that the adapter does not touch stays as it is. Known before a repair begins, so that nothing is repaired that
could not be written back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.runtime.text import listed
from projlens_core.sources import Source
from projlens_core.weights.adapter import MergedCheckpoint, UnmergedCheckpoint
from projlens_core.weights.axes import channels_first
from projlens_core.weights.bytesource import LocalFile
from projlens_core.weights.checkpoint import Checkpoint
from projlens_core.weights.lora import Factors
from projlens_core.weights.opening import open_checkpoint
from projlens_core.weights.projector import ProjectorWeights, content_hash, locate
from projlens_core.weights.stored import FLOATS, TensorInfo


@dataclass(frozen=True)
class Whole:
    """A tensor that is stored as it is. transposed: as (in, out); info: where, and in which type."""

    info: TensorInfo
    transposed: bool = False

    def as_stored(self, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
        """{stored name: values in the stored type and shape} of the projector's tensor."""
        values = tensor.T if self.transposed and tensor.dim() == 2 else tensor
        shape = self.info.shape
        if values.shape != shape:  # the kernel of a convolution, perhaps in MLX's order
            first = channels_first(torch.empty(shape, device="meta")).shape
            values = values.reshape(first)
            values = values if first == shape else values.movedim(1, -1)
        return {self.info.name: values.to(getattr(torch, self.info.dtype)).contiguous()}

    def read_back(self, stored: Mapping[str, torch.Tensor], like: torch.Tensor) -> torch.Tensor:
        """The projector's tensor of what as_stored gave, in the precision in which `like` was read."""
        values = stored[self.info.name]
        values = values.T if self.transposed and values.dim() == 2 else values
        if values.dim() > 2:
            values = channels_first(values)
        return values.reshape(like.shape).to(like.dtype).contiguous()


@dataclass(frozen=True)
class LowRank:
    """A matrix that is `before` plus scale · B · A, of which A (r, in) and B (out, r) are stored."""

    a: TensorInfo
    b: TensorInfo
    scale: float
    before: torch.Tensor

    @property
    def rank(self) -> int:
        """Of what the adapter adds, at most."""
        return self.a.shape[0]

    def as_stored(self, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
        """The factors of the closest matrix of this rank: those that truncating the singular values leaves."""
        left, values, right = torch.linalg.svd((tensor.float() - self.before) / self.scale, full_matrices=False)
        root = values[: self.rank].sqrt()
        b, a = left[:, : self.rank] * root, root[:, None] * right[: self.rank]
        pad = self.rank - len(root)  # a rank above the matrix's own
        b, a = torch.nn.functional.pad(b, (0, pad)), torch.nn.functional.pad(a, (0, 0, 0, pad))
        return {
            info.name: factor.to(getattr(torch, info.dtype)).contiguous() for info, factor in ((self.a, a), (self.b, b))
        }

    def read_back(self, stored: Mapping[str, torch.Tensor], like: torch.Tensor) -> torch.Tensor:
        """`before` plus what the factors add, as reading the adapter gives it."""
        return self.before + self.scale * (stored[self.b.name].float() @ stored[self.a.name].float())


@dataclass(frozen=True)
class Form:
    """The suspect's files and the tensors in them that may change, by their canonical names.

    files: the weight files, as they are called in the folder that the suspect is or lies in. alone: it is one file.
    """

    source: Source
    folder: Path
    files: tuple[str, ...]
    alone: bool
    slots: dict[str, Whole | LowRank]

    @property
    def ranks(self) -> dict[str, int]:
        """Of what an adapter adds, by canonical name; empty for whole models."""
        return {name: slot.rank for name, slot in self.slots.items() if isinstance(slot, LowRank)}

    def stored(self, tensors: Mapping[str, torch.Tensor], before: ProjectorWeights) -> dict[str, torch.Tensor]:
        """{stored name: values} of all tensors that differ from those `before`."""
        changed = [name for name in self.slots if not torch.equal(tensors[name].float(), before.tensors[name].float())]
        return {key: value for name in changed for key, value in self.slots[name].as_stored(tensors[name]).items()}

    def weights(self, tensors: Mapping[str, torch.Tensor], before: ProjectorWeights) -> ProjectorWeights:
        """The suspect `before` with these tensors, rounded as the form rounds them: what will be read of the file.

        Tensors that may not change are the suspect's own.
        """
        stored = self.stored(tensors, before)
        kept = dict(before.tensors)
        for name, slot in self.slots.items():
            first = slot.info.name if isinstance(slot, Whole) else slot.a.name
            if first in stored:
                kept[name] = slot.read_back(stored, before.tensors[name])
        return with_tensors(before, kept)


def with_tensors(weights: ProjectorWeights, tensors: dict[str, torch.Tensor]) -> ProjectorWeights:
    """The projector with other values in its tensors."""
    return replace(weights, tensors=tensors, sha256=content_hash(tensors | weights.adjacent, weights.settings))


def form_of(source: Source, base: Source | None = None) -> Form:
    """The form of a suspect; base as read_projector takes it.

    Unsupported, in a sentence that says what to give instead, for forms that are not written.
    """
    if source.hub is not None:
        raise Unsupported(f"{source.label} lies on the Hub; download it and give its path to have it repaired.")
    checkpoint = open_checkpoint(source, base)
    _, found = locate(checkpoint, source.family)
    transposed = {f"{layer.name}.weight" for layer in found.family.layers if layer.transposed}
    slots: dict[str, Whole | LowRank] = {}
    for name, key in found.tensors.items():
        slot = _slot(checkpoint, key, name in transposed)
        if slot is not None:
            slots[name] = slot
    if not slots:
        raise InvalidInput(f"{source.label} changes nothing in the projector, so there is nothing to repair.")
    own = checkpoint.adapter if isinstance(checkpoint, MergedCheckpoint) else checkpoint
    alone = not source.weights.is_dir()
    folder = source.weights.parent if alone else source.weights
    files = {own.info(name).file.name for name in own.names}
    return Form(
        source, folder, tuple(sorted(files)), alone, {name: slots[name] for name in found.family.in_order(slots)}
    )


def _slot(checkpoint: Checkpoint, key: str, transposed: bool) -> Whole | LowRank | None:
    """How the tensor stored under `key` may change; None if it may not."""
    if not isinstance(checkpoint, MergedCheckpoint):
        return Whole(_writable(checkpoint, key), transposed)
    change = checkpoint.change(key)
    if change is None:
        return Whole(_writable(checkpoint, key), transposed) if isinstance(checkpoint, UnmergedCheckpoint) else None
    if change.trouble is not None:
        raise type(change.trouble)(str(change.trouble))
    if change.factors is None:
        return Whole(_writable(checkpoint.adapter, change.replaced or key), transposed)
    if change.bias or transposed or checkpoint.settings.uses_dora or set(change.factors.parts) != {"A", "B"}:
        raise Unsupported(
            f"{checkpoint.label} adds more to {listed([key])} than the product of two factors (a bias, DoRA's lengths, "
            "a turned matrix), which is not written back; have it merged, and give the merged model."
        )
    return _low_rank(checkpoint, key, change.factors)


def _low_rank(checkpoint: MergedCheckpoint, key: str, factors: Factors) -> LowRank:
    a, b = (_writable(checkpoint.adapter, factors.parts[part]) for part in "AB")
    whole = checkpoint.read(key)  # checks that the factors fit, and the settings that they are what is added
    if whole.dim() != 2 or len(a.shape) != 2:
        raise Unsupported(
            f"{checkpoint.label} adapts {listed([key])}, a convolution, whose factors are not written back; have it "
            "merged, and give the merged model."
        )
    change = checkpoint.change(key)
    replaced = change.replaced if change else None
    before = checkpoint.adapter.read(replaced) if replaced else checkpoint.base.read(key)
    return LowRank(a, b, checkpoint.settings.scale(factors.module, a.shape[0]), before.float())


def _writable(checkpoint: Checkpoint, name: str) -> TensorInfo:
    """Where the tensor lies; Unsupported, saying what to do, if its form is not written."""
    info, label = checkpoint.info(name), checkpoint.label
    if info.quantised:
        raise Unsupported(
            f"{label} stores its projector quantised ({checkpoint.stored_as(name)}), and a repair would be rounded "
            "away; repair the model before quantisation, and quantise the result."
        )
    if not info.file.name.endswith(".safetensors") or not isinstance(info.file, LocalFile):
        raise Unsupported(
            f"{label} keeps its projector in {listed([info.file.name])}, and only safetensors are written: pickles may "
            "run code, and GGUF is converted from another form; give the model as safetensors."
        )
    if not isinstance(info, TensorInfo) or info.dtype not in FLOATS or not info.row_by_row:
        raise Unsupported(
            f"{label} stores {listed([name])} as {info.dtype}, expected {', '.join(FLOATS)}; give it before conversion."
        )
    return info
