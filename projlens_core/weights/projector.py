"""Canonical weights of one projector, and the module that runs them. Reads no other tensor of the checkpoint."""

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.runtime.text import listed
from projlens_core.sources import Source, resolve
from projlens_core.weights import foreign
from projlens_core.weights.axes import channels_first
from projlens_core.weights.checkpoint import Checkpoint
from projlens_core.weights.declared import FamilyDecision, decide, may_guess
from projlens_core.weights.families import Family, FamilyMatch, families, match, split_layout
from projlens_core.weights.fit import check_fit
from projlens_core.weights.grid import ValueGrid
from projlens_core.weights.guess import fitted, suggestion
from projlens_core.weights.layer import RESAMPLERS, Layer
from projlens_core.weights.layers import module_of
from projlens_core.weights.opening import open_checkpoint
from projlens_core.weights.settings import check_settings, read_settings
from projlens_core.weights.stored import ADAPTED, FLOATS, PART, is_finite
from projlens_core.weights.unread import unread


@dataclass(frozen=True)
class ProjectorWeights:
    """One projector, ready to compare or run.

    tensors: {canonical name: tensor} in running order, a linear layer's weight as (out, in); float32, or the 16-bit
    type it was stored in, whose values float32 holds exactly and in twice the memory. Shared, so never to be changed
    in place.
    adjacent: tensors fed to the language model next to the projector's output (image_newline), same form.
    settings: what the config decides and tensors do not show, {layer name: activation name or epsilon}, and the
    question that a projector is given that reads one.
    may_be: the names of the families that it may be by what it declares, none if it declares nothing that is known.
    described: whether a config stood behind settings and family; without one they are the family's defaults.
    stored: {canonical name: the dtype its values were written in, a GGUF block type, another quantised format, or
    "adapter"}. grids: {canonical name: what its values were rounded to}, of quantised ones where that is known.
    dtype: as stored, "mixed" if the tensors differ. sha256: over names, shapes, float32 values and settings.
    unread: names of tensors that belong to a projector, too, and were not read. others: all further tensors of the
    checkpoint that were not read, (first part of their names, how many).
    also_changed: {part of the model: names} of what an adapter changes outside the projector. ranks: {canonical name:
    the rank of the factors that an adapter adds}, so the most that its change can have.
    """

    family: Family
    tensors: dict[str, torch.Tensor]
    adjacent: dict[str, torch.Tensor]
    settings: dict[str, str | float]
    may_be: tuple[str, ...]
    described: bool
    stored: dict[str, str]
    dtype: str
    source: str
    layout: str
    sha256: str
    bytes_read: int
    unread: tuple[str, ...]
    others: tuple[tuple[str, int], ...]
    warnings: tuple[str, ...]
    also_changed: dict[str, tuple[str, ...]] = field(default_factory=dict)
    grids: dict[str, ValueGrid] = field(default_factory=dict, repr=False)
    ranks: dict[str, int] = field(default_factory=dict)

    @property
    def d_in(self) -> int:
        """Width of one token as the projector's first linear layer, or those that share it, read it."""
        if len(self.family.entrances) > 1:
            return self.d_token
        return _first_matrix(self.family.layers, self.tensors).shape[1]

    @property
    def d_token(self) -> int:
        """Width of one token as it reaches the projector: less than d_in where the projector itself merges tokens."""
        return sum(self.tensors[name].shape[-1] for name in self.family.entrances)

    @property
    def d_out(self) -> int:
        """Width of one image embedding."""
        last = [layer for layer in self.family.layers if layer.kind in ("linear", "gated_mlp")][-1]
        return self.tensors[f"{last.name}{'.down' if last.kind == 'gated_mlp' else ''}.weight"].shape[0]

    @property
    def parameters(self) -> int:
        """How many numbers the projector has."""
        return sum(tensor.numel() for tensor in self.tensors.values())


def read_projector(source: Source | str | Path, base: Source | str | Path | None = None) -> ProjectorWeights:
    """Read the projector, and only it, from a checkpoint. `PATH#FAMILY` says the family where the checkpoint does not.

    An adapter is read on top of `base`; nothing else needs one. Errors as open_checkpoint, declared.decide and match;
    InvalidInput for NaN or infinite values, values beyond float32 and shapes that do not fit each other; Unsupported
    for tensors that are stored neither as 16 to 64 bit floats nor in a quantised form that is restored.

    >>> import projlens_core as pl
    >>> projector = pl.read_projector("zoo:base")
    >>> projector.d_in, projector.d_out
    (256, 576)
    """
    source = source if isinstance(source, Source) else resolve(source)
    checkpoint = open_checkpoint(source, base)
    config = checkpoint.config or {}
    decision, found = locate(checkpoint, source.family)
    stored = found.tensors | found.adjacent
    _check_dtypes(checkpoint, stored)
    values = {name: _read(checkpoint, stored[name]) for name in stored}
    grids = {name: grid for name, key in stored.items() if (grid := checkpoint.grid(key)) is not None}
    for layer in found.family.layers:
        _to_canonical(layer, values, grids)
    if bad := [stored[name] for name, tensor in values.items() if not is_finite(tensor)]:
        raise InvalidInput(
            f"{checkpoint.label} has NaN or infinite values in {listed(bad)}; such a projector cannot be analysed."
        )
    tensors = {name: values[name] for name in found.family.in_order(found.tensors)}
    check_fit(found.family, tensors, checkpoint.label)
    settings = read_settings(found.family, config)
    written = {name: _written(checkpoint, key, name, found.family) for name, key in stored.items()}
    missed = unread(checkpoint.names, stored.values())
    return ProjectorWeights(
        family=found.family,
        tensors=tensors,
        adjacent={name: channels_first(values[name]) for name in found.adjacent},
        settings=settings,
        may_be=decision.declared,
        described=config.get("model_type") is not None,
        stored=written,
        dtype=_summary(set(written.values())),
        source=checkpoint.label,
        layout=found.layout,
        sha256=content_hash(values, settings),
        bytes_read=checkpoint.bytes_read,
        unread=missed,
        others=_others(checkpoint, {*stored.values(), *missed}),
        warnings=checkpoint.warnings + _taken_for(decision, found),
        also_changed=checkpoint.also_changed,
        grids=grids,
        ranks={name: rank for name, key in found.tensors.items() if (rank := checkpoint.rank_added(key)) is not None},
    )


def _summary(stored: set[str]) -> str:
    """One word for the types of all tensors, and whether an adapter lies on them."""
    own = stored - {ADAPTED}
    if not own:
        return ADAPTED
    return (own.pop() if len(own) == 1 else "mixed") + (f" + {ADAPTED}" if ADAPTED in stored else "")


def described_like(weights: ProjectorWeights, other: ProjectorWeights) -> ProjectorWeights:
    """`weights` read as one of `other`'s family and settings: for a lone projector file, which says neither."""
    digest = content_hash(weights.tensors | weights.adjacent, other.settings)
    return replace(weights, family=other.family, settings=other.settings, sha256=digest)


def locate(checkpoint: Checkpoint, family: str | None) -> tuple[FamilyDecision, FamilyMatch]:
    """What a checkpoint is, `family` being the user's word for it, and where its projector lies; errors as decide and
    match."""
    decision = decide(checkpoint, family)
    return decision, _find(checkpoint, decision)


def _find(checkpoint: Checkpoint, decision: FamilyDecision) -> FamilyMatch:
    """Where the projector lies; for a family that is not known, the refusal says what it looks like."""
    label, names = checkpoint.label, checkpoint.names
    if decision.named and may_guess(checkpoint) and not any(split_layout(name) for name in names):
        return fitted(checkpoint.shapes, families()[decision.named], label)
    if checkpoint.gguf is not None and checkpoint.gguf.kind:
        label = f"{label} ({checkpoint.gguf.key} {checkpoint.gguf.kind[:40]!r})"
    declared = (decision.said, decision.families) if decision.said and decision.families else None
    if decision.unknown and not declared:
        declared = decision.unknown, ()
    try:
        return match(names, None, label, declared=declared)
    except Unsupported as error:
        if not may_guess(checkpoint):
            raise
        raise Unsupported(f"{error} {suggestion(checkpoint.shapes)}") from error


def _taken_for(decision: FamilyDecision, match: FamilyMatch) -> tuple[str, ...]:
    """That the user's word alone says what it is, where nothing else does."""
    if not decision.named or decision.declared:
        return ()
    says = "does not say what it is"
    if decision.unknown:
        says = f"declares {decision.unknown}, which ProjLens does not know"
    return (
        f"It {says}; {listed([match.layout])} is read as a {match.family.title} projector because #{decision.named} in "
        "its path says so.",
    )


def _to_canonical(layer: Layer, values: dict[str, torch.Tensor], grids: dict[str, ValueGrid]) -> None:
    """Turn a layer's weight, as read, into (out, in), in place of the stored one, and what it was rounded to."""
    name = f"{layer.name}.weight"
    weight = values.get(name)
    if weight is not None and layer.transposed and weight.dim() == 2:
        values[name] = weight.T.contiguous()
        grid = grids.pop(name, None)
        if grid is not None and (turned := grid.transposed()) is not None:
            grids[name] = turned
    if weight is not None and layer.convolution and weight.dim() > 2:
        values[name] = channels_first(weight).flatten(1)


def as_module(
    weights: ProjectorWeights, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> nn.Sequential:
    """The projector as a module in eval mode, without gradients: (…, tokens, d_vision) → (…, tokens, d_out).

    Families with a merge layer (Qwen2-VL) take (…, m·tokens, d_vision) and give (…, tokens, d_out), where each run of
    m tokens is one merged patch, as their vision tower orders them. On the CPU it shares the tensors of its dtype.
    Raises Unsupported, with the reason, for a family whose projector is compared but not run, and for activations and
    other settings of its config that this version cannot run.
    """
    if weights.family.not_run:
        raise Unsupported(f"A {weights.family.title} projector cannot be run: {weights.family.not_run}.")
    check_settings(weights.family, weights.settings, weights.source)
    with torch.device("meta"):  # neither time nor random numbers spent on weights that are replaced
        layers = OrderedDict((layer.name, module_of(layer, weights)) for layer in weights.family.layers)
    module = nn.Sequential(layers)
    module.load_state_dict(weights.tensors, strict=True, assign=True)
    return module.requires_grad_(False).eval().to(device=device, dtype=dtype)


def _check_dtypes(checkpoint: Checkpoint, stored: dict[str, str]) -> None:
    infos = [checkpoint.info(name) for name in stored.values()]
    if empty := sorted(info.name for info in infos if not info.quantised and info.shape == (0,)):
        raise InvalidInput(
            f"{checkpoint.label} holds {listed(empty)} empty, since ZeRO stage 3 saved it without gathering its "
            f"weights; {foreign.GATHER}, and give pytorch_model.bin."
        )
    wrong = {info.name: info.dtype for info in infos if info.dtype not in FLOATS and not info.quantised}
    if wrong:
        kinds = ", ".join(sorted(set(wrong.values())))
        raise Unsupported(
            f"{checkpoint.label} stores {listed(sorted(wrong))} as {kinds}, expected {', '.join(FLOATS)}, or codes "
            "with their scales beside them; give the checkpoint before quantisation."
        )


def _read(checkpoint: Checkpoint, name: str) -> torch.Tensor:
    """One tensor, 16-bit types as they are, all else as float32: float64 is rounded, what overflows is found as Inf."""
    tensor = checkpoint.read(name)
    return tensor if tensor.dtype in (torch.float16, torch.bfloat16) else tensor.float()


def _written(checkpoint: Checkpoint, name: str, canonical: str, family: Family) -> str:
    """The type a tensor's values were written in; of blocks that no longer lie in its rows, said so: their grid is not
    that of the rows."""
    info, kind = checkpoint.info(name), checkpoint.stored_as(name)
    turned = any(layer.transposed and canonical == f"{layer.name}.weight" for layer in family.layers)
    return f"{kind}, turned" if info.quantised and turned != bool(info.axes) else kind


def _first_matrix(layers: Iterable[Layer], tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    kinds = ("linear", "gated_mlp", "pooling", *RESAMPLERS)
    return tensors[next(layer.entrance for layer in layers if layer.entrance and layer.kind in kinds)]


def content_hash(tensors: dict[str, torch.Tensor], settings: dict[str, str | float]) -> str:
    """SHA-256 over settings, names, shapes and float32 values: the same weights in another file have the same."""
    digest = hashlib.sha256(repr(sorted(settings.items())).encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tuple(tensors[name].shape)}\n".encode())
        for part in tensors[name].reshape(-1).split(PART):
            digest.update(part.float().numpy().data)
    return digest.hexdigest()


def _others(checkpoint: Checkpoint, read: set[str]) -> tuple[tuple[str, int], ...]:
    """How many tensors were not read, by the module they belong to, most first."""
    modules = Counter(name.removeprefix("model.").partition(".")[0] for name in checkpoint.names if name not in read)
    return tuple(modules.most_common())
