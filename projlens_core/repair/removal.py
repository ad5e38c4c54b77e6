"""Taking a part out of ΔW in one step: along what a found trigger does, its leading components, a share, all of it."""

import torch
from torch import nn

from projlens_core.repair.form import Form
from projlens_core.weights.projector import ProjectorWeights, as_module


def remove_along(
    form: Form,
    base: ProjectorWeights,
    suspect: ProjectorWeights,
    start: ProjectorWeights,
    clean: torch.Tensor,
    stamped: torch.Tensor,
    rank: int,
) -> ProjectorWeights:
    """`start` without the `rank` directions into which each linear layer's ΔW sends what a trigger adds to its input.

    clean and stamped: (n, T, d_vision), the same images. Of ΔW·(x_stamped − x_clean) the leading left singular vectors
    U are taken, and ΔW becomes (I − UUᵀ)ΔW.
    """  # fmt: skip
    tensors = dict(start.tensors)
    added = _inputs(start, stamped), _inputs(start, clean)
    for name in added[0]:
        weight = f"{name}.weight"
        if weight not in form.slots:
            continue
        delta = start.tensors[weight].float() - base.tensors[weight].float()
        step = (added[0][name] - added[1][name]).flatten(0, -2)  # (tokens, in)
        sent = delta @ step.T
        left = torch.linalg.svd(sent @ sent.T).U[:, :rank]  # those of `sent`, at the size of ΔW
        tensors[weight] = base.tensors[weight].float() + delta - left @ (left.T @ delta)
    return form.weights(tensors, suspect)


def _inputs(weights: ProjectorWeights, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
    """What each linear layer reads, by the layer's name."""
    module = as_module(weights)
    seen: dict[str, torch.Tensor] = {}
    hooks = [
        layer.register_forward_pre_hook(lambda _, given, name=name: seen.__setitem__(name, given[0]))
        for name, layer in module.named_children()
        if isinstance(layer, nn.Linear)
    ]
    with torch.no_grad():
        module(tokens)
    for hook in hooks:
        hook.remove()
    return seen


def without_leading(form: Form, base: ProjectorWeights, suspect: ProjectorWeights, rank: int) -> ProjectorWeights:
    """Rank-k ablation: each matrix's ΔW without its `rank` largest singular components; biases stay the suspect's."""
    tensors = dict(suspect.tensors)
    for name in form.slots:
        if suspect.tensors[name].dim() == 2:
            ours = base.tensors[name].float()
            left, values, right = torch.linalg.svd(suspect.tensors[name].float() - ours, full_matrices=False)
            tensors[name] = ours + (left[:, rank:] * values[rank:]) @ right[rank:]
    return form.weights(tensors, suspect)


def interpolated(form: Form, base: ProjectorWeights, suspect: ProjectorWeights, share: float) -> ProjectorWeights:
    """Base plus a share of ΔW, 0 to 1."""
    tensors = {
        name: base.tensors[name].float() + share * (tensor.float() - base.tensors[name].float())
        for name, tensor in suspect.tensors.items()
    }
    return form.weights(tensors, suspect)


def returned(form: Form, base: ProjectorWeights, suspect: ProjectorWeights) -> ProjectorWeights:
    """Base's own projector, as far as the form lets it: what the fine-tune learned is gone with the backdoor."""
    return form.weights({name: base.tensors[name].float() for name in suspect.tensors}, suspect)
