"""Builds a vision tower from a checkpoint that nobody vouches for, reading its tensors and no others."""

from collections.abc import Set

import torch
from torch import nn
from transformers import AutoModel, LlavaConfig

from projlens_core.activations.around import check_fetched
from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.runtime.text import listed
from projlens_core.weights.checkpoint import Checkpoint
from projlens_core.weights.names import plain
from projlens_core.weights.stored import FLOATS, is_finite

POSITIONS = "position_ids"  # 0, 1, 2, …: no weight, though old releases store it


def load_tower(checkpoint: Checkpoint, config: LlavaConfig, dtype: torch.dtype) -> nn.Module:
    """The tower that the config describes, on the CPU, each of its tensors present, of the right shape and finite.

    transformers would fill what is missing with random numbers and pass over what it does not know; here both are
    InvalidInput, and so is NaN. Unsupported for tensors that are not stored as floats.
    """
    with torch.device("meta"):  # costs nothing, whatever sizes the config claims
        # attn_implementation is given, since a config may name one that would be fetched from elsewhere
        tower = AutoModel.from_config(config.vision_config, attn_implementation="sdpa")
    wanted = tower.state_dict()
    stored = _stored_names(checkpoint, nested=any(name.startswith("vision_model.") for name in wanted))
    check_complete(wanted.keys() - stored.keys(), {stored[n] for n in stored.keys() - wanted.keys()}, checkpoint.label)
    _check_shapes(checkpoint, {stored[name]: tuple(tensor.shape) for name, tensor in wanted.items()})
    check_fetched(checkpoint, (stored[name] for name in wanted), "vision tower")
    tensors = {name: read_finite(checkpoint, stored[name], dtype) for name in wanted}
    tower.load_state_dict(tensors, strict=True, assign=True)
    _fill_positions(tower, checkpoint.label)
    return tower.requires_grad_(False).eval()


def _stored_names(checkpoint: Checkpoint, nested: bool) -> dict[str, str]:
    """{name in the module: name in the checkpoint} of all tower tensors, in any of the layouts in circulation.

    Releases store `vision_tower.vision_model.*`, newer ones `model.vision_tower.*`, others put wrappers around either;
    `nested` says whether the module itself has the inner name.
    """
    found: dict[str, str] = {}
    for stored in checkpoint.names:
        name = plain(stored)
        if not name.startswith("vision_tower.") or name.endswith(f".{POSITIONS}"):
            continue
        name = name.removeprefix("vision_tower.")
        name = f"vision_model.{name}" if nested else name
        if name in found:
            raise InvalidInput(
                f"{checkpoint.label} holds both {found[name]} and {stored}; which one a loader takes is uncertain."
            )
        found[name] = stored
    if not found:
        raise InvalidInput(f"{checkpoint.label} holds no vision tower, so images cannot be read with it.")
    return found


def _check_shapes(checkpoint: Checkpoint, wanted: dict[str, tuple[int, ...]]) -> None:
    """All at once and before anything is read."""
    infos = [checkpoint.info(name) for name in wanted]
    if wrong := [
        f"{info.name} {info.shape} for {wanted[info.name]}" for info in infos if info.shape != wanted[info.name]
    ]:
        raise InvalidInput(f"The vision tower of {checkpoint.label} has other shapes than its config: {listed(wrong)}.")
    if kinds := sorted({info.dtype for info in infos} - set(FLOATS)):
        raise Unsupported(
            f"{checkpoint.label} stores its vision tower as {', '.join(kinds)}, expected {', '.join(FLOATS)}; "
            "give the checkpoint before quantisation."
        )


def check_complete(missing: Set[str], unknown: Set[str], label: str) -> None:
    """InvalidInput if tensors that the config describes are missing, or others are stored that it does not."""
    said = [f"lacks {listed(sorted(missing))}"] if missing else []
    said += [f"has {listed(sorted(unknown))} besides"] if unknown else []
    if said:
        raise InvalidInput(f"The vision tower of {label} is not the one its config describes: it {' and '.join(said)}.")


def read_finite(checkpoint: Checkpoint, name: str, dtype: torch.dtype) -> torch.Tensor:
    """One tensor in `dtype`; InvalidInput if it holds NaN or infinity in that, Unsupported unless stored as floats."""
    if checkpoint.info(name).dtype not in FLOATS:
        raise Unsupported(
            f"{checkpoint.label} stores {name} as {checkpoint.info(name).dtype}, expected {', '.join(FLOATS)}; "
            "give the checkpoint before quantisation."
        )
    tensor = checkpoint.read(name).to(dtype)
    if not is_finite(tensor):
        raise InvalidInput(f"{name} of {checkpoint.label} holds NaN or infinity; such a tower cannot be run.")
    return tensor


def _fill_positions(tower: nn.Module, label: str) -> None:
    """Give the buffers that no checkpoint stores, and that are still on meta, their values."""
    for name, buffer in list(tower.named_buffers()):
        if not buffer.is_meta:
            continue
        parent, _, leaf = name.rpartition(".")
        if leaf != POSITIONS:
            raise Unsupported(f"The vision tower of {label} has a buffer {name!r} that this version cannot fill.")
        positions = torch.arange(buffer.shape[-1]).expand(buffer.shape)
        tower.get_submodule(parent).register_buffer(leaf, positions, persistent=False)
