"""Adapters on a base, tensor by tensor: what is asked for is merged when it is read; no merged model lies anywhere.

Beside low-rank factors (see lora) an adapter may hold whole tensors that replace the base's: modules_to_save, biases,
LLaVA's non_lora_trainables.bin (where the projector of a LLaVA LoRA is), ms-swift's vit.safetensors (vision tower and
projector), rows of an embedding. What cannot be merged is refused when it is read, so that it stands in nobody's way
who does not need it.
"""

from collections.abc import Mapping
from typing import TypeVar

import torch

from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.runtime.required import required
from projlens_core.runtime.text import listed
from projlens_core.weights.adapter_changes import AdapterPlan, TensorChange
from projlens_core.weights.adapter_names import Contents, module_of, sort_out
from projlens_core.weights.adapter_settings import AdapterSettings
from projlens_core.weights.base_names import BaseNames
from projlens_core.weights.checkpoint import ADAPTER_CONFIG, Checkpoint
from projlens_core.weights.families import split_layout
from projlens_core.weights.folder import Folder
from projlens_core.weights.names import by_part, plain
from projlens_core.weights.quantised.tensor import Stored
from projlens_core.weights.selection import strays
from projlens_core.weights.stored import ADAPTED, FLOATS
from projlens_core.weights.tensorfile import read_json

_FACTORS = ("adapter_model.safetensors", "adapter_model.bin")  # the first that is there
Kind = TypeVar("Kind", bound="MergedCheckpoint")
_EMBEDDINGS, _HEADS = ("embed_tokens.weight",), ("lm_head.weight",)
_BESIDE = ("non_lora_trainables.bin", "vit.safetensors")


class MergedCheckpoint(Checkpoint):
    """Tensors that lie under an adapter, by their own names, with its changes in those that it touches.

    unapplied: modules that the adapter changes and the base does not hold, so that they are nowhere in it.
    """

    def __init__(
        self,
        base: Checkpoint,
        adapter: Checkpoint,
        settings: AdapterSettings,
        changes: Mapping[str, TensorChange],
        unapplied: tuple[str, ...] = (),
        projector: frozenset[str] = frozenset(),
    ):
        """changes: {name in the base, or of what the adapter adds: what becomes of it}. projector: the base's names of
        it, beside those that are known by their looks."""
        self.base, self.adapter, self.settings = base, adapter, settings
        self._projector = projector
        self._changes, self.unapplied = dict(changes), unapplied
        self.label, self.config, self.folder = adapter.label, base.config, adapter.folder
        self.gguf = base.gguf
        self.warnings = adapter.warnings
        self._base_names = frozenset(base.names)
        brought = [name for name, change in changes.items() if split_layout(name) and name not in self._base_names]
        self._hidden: frozenset[str] = frozenset()
        if brought:  # the adapter brings a projector in another layout than the base's, so it replaces all of it
            if clash := [name for name in changes if split_layout(name) and name in self._base_names]:
                raise InvalidInput(f"{self.label} brings {listed(brought)} and also changes {listed(clash)}; keep one.")
            self._hidden = frozenset(name for name in base.names if split_layout(name))

    @property
    def bytes_read(self) -> int:
        """Of the base's and the adapter's files together."""
        return self.adapter.bytes_read + self.base.bytes_read

    @property
    def touched(self) -> frozenset[str]:
        """The names of the tensors that the adapter changes or brings."""
        return frozenset(self._changes)

    def change(self, name: str) -> TensorChange | None:
        """What the adapter does to the tensor; None where it leaves it as it is."""
        return self._changes.get(name)

    def replaces(self, name: str) -> bool:
        """Whether the tensor is one that the adapter brings whole, to be read as it is stored."""
        change = self._changes.get(name)
        return change is not None and change.trouble is None and not change.adds

    def check_head(self) -> None:
        """Unsupported if the adapter changes token embeddings that are the output head, too.

        Whether the head moves with them depends on who merges it: PEFT's own merge of factors moves it, the model as it
        was trained does not.
        """
        if any(plain(name) in _HEADS for name in self.names):
            return
        for name, change in self._changes.items():
            if plain(name) in _EMBEDDINGS and change.rows is None:
                raise Unsupported(
                    f"{self.label} changes {listed([name])}, which are the output head, too, and loaders differ in "
                    "whether that changes with them; merge the adapter the way it is to run, and give that model."
                )

    @property
    def names(self) -> tuple[str, ...]:
        """The base's names, then what the adapter adds."""
        kept = tuple(name for name in self.base.names if name not in self._hidden)
        return kept + tuple(name for name in self._changes if name not in self._base_names)

    def info(self, name: str) -> Stored:
        """As the tensor is stored; for base plus delta, as the base stores it."""
        replaced = self._changes.get(name, TensorChange()).replaced
        return self.adapter.info(replaced) if replaced else self.base.info(name)

    def stored_as(self, name: str) -> str:
        """The stored dtype, or "adapter" for base plus delta, which is exact up to float32."""
        return ADAPTED if self._changes.get(name, TensorChange()).adds else self.info(name).dtype

    def rank_added(self, name: str) -> int | None:
        """See Checkpoint. DoRA rescales each output's weights too, so that its change has any rank."""
        change = self._changes.get(name, TensorChange())
        if change.factors is None or change.bias or "magnitude_vector" in change.factors.parts:
            return None
        part = change.factors.parts.get("A")
        return None if part is None else self.adapter.info(part).shape[0]

    def changes(self, name: str) -> float | None:
        """‖Δ‖ of the tensor where the adapter computes it; None where it leaves or replaces it. Errors as read."""
        change = self._changes.get(name, TensorChange())
        if change.trouble is not None:
            raise type(change.trouble)(str(change.trouble))
        if not change.adds:
            return None
        inherited = name in self._base_names
        before = self.base.read(name) if inherited else self.adapter.read(required(change.replaced, f"{name} itself"))
        return torch.linalg.vector_norm(self.read(name) - before.float()).item()

    def read(self, name: str) -> torch.Tensor:
        """One tensor; base plus delta as float32. Unsupported or InvalidInput where it cannot be merged."""
        change = self._changes.get(name)
        if change is None:
            return self.base.read(name)
        if change.trouble is not None:
            raise type(change.trouble)(str(change.trouble))
        info = self.info(name)

        def before() -> torch.Tensor:
            if info.dtype not in FLOATS and not info.quantised:
                raise Unsupported(
                    f"{self.label} changes {listed([name])}, which is stored as {info.dtype}; give the base before "
                    "quantisation."
                )
            return self.adapter.read(change.replaced) if change.replaced else self.base.read(name)

        if change.factors is not None:
            self.settings.check_targets(change.factors.module, module_of(name.rpartition(".")[0]))
            add = change.factors.added_to_bias if change.bias else change.factors.added_to_weight
            return add(info, before, self.settings, self.adapter)
        if change.rows is not None:
            return self._with_rows(name, before().float(), change.rows)
        return self.adapter.read(required(change.replaced, f"what becomes of {name}"))

    def _with_rows(self, name: str, weight: torch.Tensor, rows: str) -> torch.Tensor:
        """An embedding whose rows trainable_token_indices are replaced."""
        indices, values = self.settings.rows_of(module_of(name.rpartition(".")[0])), self.adapter.read(rows).float()
        if weight.ndim != 2 or values.shape != (len(indices), weight.shape[1]) or max(indices) >= weight.shape[0]:
            raise InvalidInput(
                f"{self.label} replaces {len(indices):,} rows of {listed([name])} {tuple(weight.shape)} by values of "
                f"shape {tuple(values.shape)}, which do not fit; give the base it was trained on."
            )
        return weight.index_copy(0, torch.tensor(indices), values)

    @property
    def also_changed(self) -> dict[str, tuple[str, ...]]:
        """{part of the model: names} of what the adapter changes outside the projector, in the base or not."""
        outside = [name for name in self._changes if name not in self._projector and not split_layout(name)]
        return by_part((*outside, *self.unapplied))


class AdaptedCheckpoint(MergedCheckpoint):
    """An adapter on another model, its base: what it does not touch is the base's own."""


class UnmergedCheckpoint(MergedCheckpoint):
    """A whole model whose files keep its adapters beside the weights that these lie on."""


def is_adapter(folder: Folder) -> bool:
    """Whether the folder holds an adapter in the files that PEFT, LLaVA and ms-swift write."""
    present = folder.names()
    return ADAPTER_CONFIG in present and any(name in present for name in (*_FACTORS, *_BESIDE))


def open_adapted(folder: Folder, base: Checkpoint) -> AdaptedCheckpoint:
    """The adapter in `folder` on top of `base`, reading headers only.

    InvalidInput for an adapter that changes a part of the projector that the base does not hold. What cannot be merged
    raises where it is read.
    """
    settings = AdapterSettings(folder.label, read_json(folder.file(ADAPTER_CONFIG)))
    present = folder.names()
    used = [name for name in _FACTORS if name in present][:1] + [name for name in _BESIDE if name in present]
    adapter = Checkpoint(folder.label, [folder.file(name) for name in used], None, strays(present, set(used)), folder)
    return laid(adapter, settings, base)


def laid(adapter: Checkpoint, settings: AdapterSettings, base: Checkpoint) -> AdaptedCheckpoint:
    """An adapter's tensors on a base; errors as open_adapted."""
    result = merged(AdaptedCheckpoint, adapter, settings, base, sort_out(adapter.names))
    if settings.base_named:
        named = settings.base_named[:120]
        result.warnings += (f"The adapter names {named!r} as its base; it was laid on {base.label}.",)
    if ambiguous := BaseNames(base).ambiguous:
        result.warnings += (
            f"The base holds {listed(ambiguous)} under names that wrappers make equal; left as they are.",
        )
    return result


def merged(
    kind: type[Kind], adapter: Checkpoint, settings: AdapterSettings, base: Checkpoint, contents: Contents
) -> Kind:
    """What the contents of an adapter make of a base, with a warning that says what else than the projector they
    change; errors as open_adapted."""
    plan = AdapterPlan(settings, BaseNames(base)).take(contents)
    result = kind(base, adapter, settings, plan.changes, tuple(plan.unapplied), plan.names.projector)
    result.warnings += _said(result)
    return result


def _said(adapted: MergedCheckpoint) -> tuple[str, ...]:
    """One sentence for what the adapter changes outside the projector, one for what it cannot change."""
    said = []
    if elsewhere := adapted.also_changed:
        parts = [f"{part} ({len(names):,}, such as {listed(names[:1])})" for part, names in elsewhere.items()]
        said.append(
            f"The adapter also changes tensors outside the projector: {', '.join(parts)}; the suspect is more than the "
            "base with another projector, and these are not among the deltas, but in the comparison of the rest."
        )
    if adapted.settings.unfollowed and adapted.touched:
        said.append(
            "Whether PEFT would leave out some of the adapter's factors was not checked: its "
            f"{' and '.join(adapted.settings.unfollowed)} cannot be followed in bounded time."
        )
    if adapted.unapplied:
        said.append(
            f"The adapter also changes {listed(adapted.unapplied)}, which the base given here does not hold under such "
            "a name."
        )
    return tuple(said)
