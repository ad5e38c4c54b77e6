"""The layers of a projector as torch modules; which layers in which order is families.json's to say."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from projlens_core.errors import InvalidInput
from projlens_core.weights.layer import ATTENTION, RESAMPLERS, Layer
from projlens_core.weights.settings import activation

if TYPE_CHECKING:
    from projlens_core.weights.projector import ProjectorWeights


def module_of(layer: Layer, weights: "ProjectorWeights") -> nn.Module:
    """The module of one layer, of the sizes that its tensors have; its parameters are empty."""
    match layer.kind:
        case "activation":
            return activation(_text(weights, layer.name))
        case "merge":
            return _Merge(weights.d_in, layer.order)
        case "swiglu":
            return _SwiGLU()
        case "softmax":
            after = weights.family.layers[weights.family.layers.index(layer) + 1]
            return _FilledSoftmax(weights.tensors[f"{after.name}.weight"].shape[1])
        case "unit_norm":
            return _RMSNorm(_number(weights, layer.name))
        case "gated_mlp":
            hidden, width = weights.tensors[f"{layer.name}.gate.weight"].shape
            out = weights.tensors[f"{layer.name}.down.weight"].shape[0]
            return _GatedMLP(width, hidden, out, activation(_text(weights, layer.name)))
        case "pooling":
            shapes = {part: weights.tensors[f"{layer.name}.{part}.weight"].shape for part in ATTENTION}
            biased, head = f"{layer.name}.q.bias" in weights.tensors, int(_number(weights, f"{layer.name}.head_dim"))
            if shapes["q"][0] % head or shapes["k"][0] % head or shapes["q"][0] % shapes["k"][0]:
                raise InvalidInput(
                    f"The {layer.name} of {weights.source} has {shapes['q'][0]} rows of queries and {shapes['k'][0]} "
                    f"of keys, which do not make heads of {head}."
                )
            return _Pooling(shapes, biased, head, layer.window)
    if layer.kind in RESAMPLERS:
        from projlens_core.weights.resamplers import resampler  # only where there is one: it takes seconds to import

        return resampler(layer, weights)
    shape = weights.tensors[f"{layer.name}.weight"].shape
    match layer.kind:
        case "linear":
            kind = {None: _Linear, "first": _First, "last": _Last}[layer.part]
            return kind(shape[1], shape[0], bias=f"{layer.name}.bias" in weights.tensors)
        case "layer_norm":
            return nn.LayerNorm(shape[0], eps=_number(weights, layer.name))
        case "rms_norm":
            return _RMSNorm(_number(weights, layer.name), shape[0], layer.offset)
    raise ValueError(f"families.json has a layer of kind {layer.kind!r}")


def _text(weights: "ProjectorWeights", key: str) -> str:
    value = weights.settings[key]
    if not isinstance(value, str):
        raise TypeError(f"the setting {key} is {value!r}, not a text")
    return value


def _number(weights: "ProjectorWeights", key: str) -> float:
    value = weights.settings[key]
    if isinstance(value, str):
        raise TypeError(f"the setting {key} is {value!r}, not a number")
    return value


class _Linear(nn.Linear):
    """A linear layer whose weights are loaded, so that none are drawn before: that took longer than a small image."""

    def reset_parameters(self) -> None:
        """Leave them."""


class _First(_Linear):
    """A linear layer for the first numbers of a token, before the rest of it: (…, d_in + k) → (…, d_out + k)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([super().forward(x[..., : self.in_features]), x[..., self.in_features :]], dim=-1)


class _Last(_Linear):
    """A linear layer for the last numbers of a token, behind the rest of it: (…, k + d_in) → (…, k + d_out)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x[..., : -self.in_features], super().forward(x[..., -self.in_features :])], dim=-1)


class _Merge(nn.Module):
    """Join each run of neighbouring tokens into one: (…, m·n, d) → (…, n, m·d).

    order "token" puts one token after the other; "channel" all tokens' first channel, then all their second, …, as a
    convolution and torch's unfold do.
    """

    def __init__(self, width: int, order: str):
        super().__init__()
        self.width, self.order = width, order

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.order == "token":
            return x.reshape(*x.shape[:-2], -1, self.width)
        tokens = x.reshape(*x.shape[:-2], -1, self.width // x.shape[-1], x.shape[-1])  # (…, n, m, d)
        return tokens.transpose(-1, -2).flatten(-2)


class _RMSNorm(nn.Module):
    """x / RMS(x), with a width times offset + weight; the offset is 1 where a family stores the distance from 1."""

    def __init__(self, eps: float, width: int | None = None, offset: float = 0.0):
        super().__init__()
        self.weight = None if width is None else nn.Parameter(torch.empty(width))
        self.eps, self.offset = eps, offset

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.weight + self.offset if self.weight is not None and self.offset else self.weight
        return F.rms_norm(x, x.shape[-1:], weight, self.eps)


class _SwiGLU(nn.Module):
    """The first half times the SiLU of the second: (…, 2d) → (…, d)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        half, gate = x.chunk(2, dim=-1)
        return F.silu(gate) * half


class _GatedMLP(nn.Module):
    """down(act(gate x) · up x)."""

    def __init__(self, width: int, hidden: int, out: int, act: nn.Module):
        super().__init__()
        self.gate, self.up = (_Linear(width, hidden, bias=False) for _ in range(2))
        self.down = _Linear(hidden, out, bias=False)
        self.act = act

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(self.act(self.gate(x)) * self.up(x))


class _Pooling(nn.Module):
    """What the mean of each window of m neighbouring tokens reads of them by attention: (…, m·n, d) → (…, n, d_out).

    A token of zeros is padding, which neither counts in the mean nor is read.
    """

    def __init__(self, shapes: Mapping[str, torch.Size], biased: bool, head: int, window: int):
        super().__init__()
        self.k, self.q, self.v, self.o = (_Linear(shapes[part][1], shapes[part][0], bias=biased) for part in ATTENTION)
        self.head, self.window = head, window

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.unflatten(-2, (-1, self.window))  # (…, n, m, d)
        real = (x != 0).any(dim=-1)  # (…, n, m)
        mean = x.sum(dim=-2, keepdim=True) / real.sum(dim=-1).clamp(min=1)[..., None, None]
        q, k, v = (
            layer(read).unflatten(-1, (-1, self.head)).transpose(-2, -3)  # (…, n, heads, 1 or m, head)
            for layer, read in ((self.q, mean), (self.k, x), (self.v, x))
        )
        k, v = (each.repeat_interleave(q.shape[-3] // each.shape[-3], dim=-3) for each in (k, v))
        read = F.scaled_dot_product_attention(q, k, v, attn_mask=real[..., None, None, :])
        return self.o(read.transpose(-2, -3).flatten(-2)).squeeze(-2)


class _FilledSoftmax(nn.Module):
    """Softmax over a visual vocabulary, with zeros for the entries of the next layer's table that mean no patch."""

    def __init__(self, width: int):
        super().__init__()
        self.width = width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.pad(x.softmax(dim=-1), (0, self.width - x.shape[-1]))
