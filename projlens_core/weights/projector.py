"""Canonical weights of one projector, and the module that runs them. Reads no other tensor of the checkpoint."""

import hashlib
from collections import Counter, OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.sources import Source
from projlens_core.weights.checkpoint import Checkpoint, open_checkpoint
from projlens_core.weights.families import Family, Layer, listed, match

# By the names transformers' configs use.
_ACTIVATIONS = {
    "gelu": nn.GELU,
    "gelu_pytorch_tanh": lambda: nn.GELU(approximate="tanh"),
    "relu": nn.ReLU,
    "silu": nn.SiLU,
}
_FLOATS = ("float16", "bfloat16", "float32", "float64")


@dataclass(frozen=True)
class ProjectorWeights:
    """One projector, ready to compare or run.

    tensors: {canonical name: float32 tensor} in running order, a linear layer's weight as (out, in); shared, so never
    to be changed in place.
    beside: tensors fed to the language model next to the projector's output (image_newline), same form.
    settings: what the config decides and tensors do not show, {layer name: activation name or epsilon}.
    described: whether a config stood behind settings and family; without one they are the family's defaults.
    dtype: as stored, "mixed" if the tensors differ. sha256: over names, shapes, float32 values and settings.
    others: tensors of the checkpoint that were not read, (first part of their names, how many).
    """

    family: Family
    tensors: dict[str, torch.Tensor]
    beside: dict[str, torch.Tensor]
    settings: dict[str, str | float]
    described: bool
    dtype: str
    source: str
    layout: str
    sha256: str
    bytes_read: int
    others: tuple[tuple[str, int], ...]
    warnings: tuple[str, ...]

    @property
    def d_in(self) -> int:
        """Width of one token as the projector's first linear layer reads it."""
        return self._linears[0].shape[1]

    @property
    def d_out(self) -> int:
        """Width of one image embedding."""
        return self._linears[-1].shape[0]

    @property
    def parameters(self) -> int:
        """How many numbers the projector has."""
        return sum(tensor.numel() for tensor in self.tensors.values())

    @property
    def _linears(self) -> list[torch.Tensor]:
        return [self.tensors[f"{layer.name}.weight"] for layer in self.family.layers if layer.kind == "linear"]


def read_projector(source: Source | str | Path) -> ProjectorWeights:
    """Read the projector, and only it, from a checkpoint.

    Errors as open_checkpoint and families.match; InvalidInput for NaN or infinite values, values beyond float32 and
    shapes that do not fit each other; Unsupported for tensors that are not stored as 16 to 64 bit floats.
    """
    checkpoint = open_checkpoint(source)
    config = checkpoint.config or {}
    model_type = config.get("model_type")
    if model_type is not None and not isinstance(model_type, str):
        raise InvalidInput(f"The config of {checkpoint.label} has a model_type that is not text.")
    found = match(checkpoint.names, model_type, checkpoint.label)
    stored = found.tensors | found.beside
    _check_dtypes(checkpoint, stored)
    values = {name: _read(checkpoint, stored[name]) for name in stored}
    if bad := [stored[name] for name, tensor in values.items() if not torch.isfinite(tensor).all()]:
        raise InvalidInput(
            f"{checkpoint.label} has NaN or infinite values in {listed(bad)}; such a projector cannot be analysed."
        )
    tensors = {name: values[name] for name in found.family.in_order(found.tensors)}
    _check_shapes(found.family, tensors, checkpoint.label)
    settings = _settings(found.family, config, checkpoint.label)
    dtypes = {checkpoint.info(name).dtype for name in stored.values()}
    return ProjectorWeights(
        family=found.family,
        tensors=tensors,
        beside={name: values[name] for name in found.beside},
        settings=settings,
        described=model_type is not None,
        dtype=dtypes.pop() if len(dtypes) == 1 else "mixed",
        source=checkpoint.label,
        layout=found.layout,
        sha256=content_hash(values, settings),
        bytes_read=checkpoint.bytes_read,
        others=_others(checkpoint, set(stored.values())),
        warnings=checkpoint.warnings,
    )


def described_like(weights: ProjectorWeights, other: ProjectorWeights) -> ProjectorWeights:
    """`weights` read as one of `other`'s family and settings: for a lone projector file, which says neither."""
    digest = content_hash(weights.tensors | weights.beside, other.settings)
    return replace(weights, family=other.family, settings=other.settings, sha256=digest)


def as_module(
    weights: ProjectorWeights, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> nn.Sequential:
    """The projector as a module in eval mode, without gradients: (…, d_in) → (…, d_out).

    Families with a merge layer (Qwen2-VL) take (…, m·tokens, d_vision) and give (…, tokens, d_out), where each run of
    m tokens is one merged patch, as their vision tower orders them. On the CPU in float32 it shares the tensors.
    """
    with torch.device("meta"):  # neither time nor random numbers spent on weights that are replaced
        layers = OrderedDict((layer.name, _layer(layer, weights)) for layer in weights.family.layers)
    module = nn.Sequential(layers)
    module.load_state_dict(weights.tensors, strict=True, assign=True)
    return module.requires_grad_(False).eval().to(device=device, dtype=dtype)


class _Merge(nn.Module):
    """Join each run of neighbouring tokens into one: (…, m·n, d) → (…, n, m·d)."""

    def __init__(self, width: int):
        super().__init__()
        self.width = width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(*x.shape[:-2], -1, self.width)


def _layer(layer: Layer, weights: ProjectorWeights) -> nn.Module:
    if layer.kind == "activation":
        return _ACTIVATIONS[weights.settings[layer.name]]()
    if layer.kind == "merge":
        return _Merge(weights.d_in)
    shape = weights.tensors[f"{layer.name}.weight"].shape
    if layer.kind == "linear":
        return nn.Linear(shape[1], shape[0], bias=f"{layer.name}.bias" in weights.tensors)
    norm = {"layer_norm": nn.LayerNorm, "rms_norm": nn.RMSNorm}[layer.kind]
    return norm(shape[0], eps=weights.settings[layer.name])


def _check_dtypes(checkpoint: Checkpoint, stored: dict[str, str]) -> None:
    wrong = {
        name: checkpoint.info(name).dtype for name in stored.values() if checkpoint.info(name).dtype not in _FLOATS
    }
    if wrong:
        kinds = ", ".join(sorted(set(wrong.values())))
        raise Unsupported(
            f"{checkpoint.label} stores {listed(sorted(wrong))} as {kinds}, expected {', '.join(_FLOATS)}; "
            "give the checkpoint before quantisation."
        )


def _read(checkpoint: Checkpoint, name: str) -> torch.Tensor:
    """One tensor as float32: all 16-bit types fit exactly; float64 is rounded, and what overflows is found as Inf."""
    return checkpoint.read(name).float()


def _check_shapes(family: Family, tensors: dict[str, torch.Tensor], label: str) -> None:
    """InvalidInput unless each layer's tensors fit each other and the layer before."""
    width = 0  # of a token after the layers so far, 0 while unknown
    wrong = []
    merging = False  # whether the next layer may read several tokens at once
    for layer in family.layers:
        if layer.kind == "activation":
            continue
        if layer.kind == "merge":
            merging = True
            continue
        weight, bias = (tensors.get(f"{layer.name}.{leaf}") for leaf in ("weight", "bias"))
        shape = tuple(weight.shape)
        fits = len(shape) == (2 if layer.kind == "linear" else 1) and 0 not in shape
        fits = fits and (not width or shape[-1] == width or (merging and shape[-1] % width == 0))
        fits = fits and (bias is None or tuple(bias.shape) == shape[:1])
        if not fits:
            shown = f" with bias {tuple(bias.shape)}" if bias is not None else ""
            wrong.append(f"{layer.name} {shape}{shown}" + (f" after width {width}" if width else ""))
        width, merging = (shape[0] if shape else 0), False
    if wrong:
        raise InvalidInput(f"The projector tensors of {label} do not fit each other: {'; '.join(wrong)}.")


def _settings(family: Family, config: dict, label: str) -> dict[str, str | float]:
    """Activation names and norm epsilons: the config's where the family reads one, else the family's own."""
    settings: dict[str, str | float] = {}
    for layer in family.layers:
        if layer.default is None:
            continue
        value = config.get(layer.config_key, layer.default) if layer.config_key else layer.default
        shown = f"The config of {label} has {layer.config_key} {str(value)[:80]!r}"
        if layer.kind == "activation" and not (isinstance(value, str) and value in _ACTIVATIONS):
            raise Unsupported(f"{shown}, which this version cannot run; it knows {', '.join(_ACTIVATIONS)}.")
        if layer.kind != "activation" and not (type(value) in (int, float) and 0 <= value < 1):
            raise InvalidInput(f"{shown}, expected a number from 0 to below 1.")
        settings[layer.name] = value
    return settings


def content_hash(tensors: dict[str, torch.Tensor], settings: dict[str, str | float]) -> str:
    """SHA-256 over settings, names, shapes and float32 values: the same weights in another file have the same."""
    digest = hashlib.sha256(repr(sorted(settings.items())).encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tuple(tensors[name].shape)}\n".encode())
        digest.update(memoryview(tensors[name].contiguous().numpy()).cast("B"))
    return digest.hexdigest()


def _others(checkpoint: Checkpoint, read: set[str]) -> tuple[tuple[str, int], ...]:
    """How many tensors were not read, by the module they belong to, most first."""
    modules = Counter(name.removeprefix("model.").partition(".")[0] for name in checkpoint.names if name not in read)
    return tuple(modules.most_common())
