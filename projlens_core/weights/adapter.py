"""PEFT adapters on a base, tensor by tensor: W + ΔW for what is asked for, no merged copy of the model anywhere.

ΔW = (α/r)·B·A, or (α/√r)·B·A for rsLoRA; DoRA rescales the rows of W + ΔW to learned lengths (Liu et al. 2024). Beside
the factors an adapter may hold whole tensors that replace the base's: modules_to_save, LLaVA's non_lora_trainables.bin
(where the projector of a LLaVA LoRA is), ms-swift's vit.safetensors (vision tower and projector).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.runtime.text import listed
from projlens_core.weights.checkpoint import ADAPTER_CONFIG, Checkpoint
from projlens_core.weights.families import split_layout
from projlens_core.weights.folder import Folder
from projlens_core.weights.names import by_plain_name, plain
from projlens_core.weights.selection import strays
from projlens_core.weights.stored import ADAPTED, FLOATS, TensorInfo
from projlens_core.weights.tensorfile import read_json

_FACTORS = ("adapter_model.safetensors", "adapter_model.bin")  # the first that is there
_BESIDE = ("non_lora_trainables.bin", "vit.safetensors")
_PART = re.compile(r"(.+)\.lora_(A|B|magnitude_vector|embedding_A|embedding_B)(?:\.default)?(?:\.weight)?")
# Initialisations that put a part of the base into the factors, so that B·A is no change to the base as published.
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq")


@dataclass(frozen=True)
class _Low:
    """The stored names of one module's factors (A: (r, in), B: (out, r)) and what scales them."""

    a: str
    b: str
    magnitude: str | None
    scale: float
    transposed: bool  # the module stores its weight as (in, out)


class AdaptedCheckpoint(Checkpoint):
    """A base's tensors under the base's names, with an adapter's changes in those that it touches."""

    def __init__(self, base: Checkpoint, adapter: Checkpoint, lows: Mapping[str, _Low], whole: Mapping[str, str]):
        """lows and whole: {name in the base: its factors or the replacing tensor's name in the adapter}."""
        self.base, self.adapter = base, adapter
        self._lows, self._whole = dict(lows), dict(whole)
        self.label, self.config, self.folder = adapter.label, base.config, adapter.folder
        self.gguf = base.gguf
        self.warnings = adapter.warnings
        if not (moved := [name for name in whole if split_layout(name) and name not in base.names]):
            self._hidden: frozenset[str] = frozenset()
        else:  # the adapter brings a projector in another layout than the base's, so it replaces all of it
            if clash := [name for name in lows if split_layout(name)]:
                raise InvalidInput(f"{self.label} brings {listed(moved)} and also changes {listed(clash)}; keep one.")
            self._hidden = frozenset(name for name in base.names if split_layout(name) and name not in whole)

    @property
    def bytes_read(self) -> int:
        """Of the base's and the adapter's files together."""
        return self.base.bytes_read + self.adapter.bytes_read

    @property
    def names(self) -> tuple[str, ...]:
        """The base's names, then what the adapter adds."""
        kept = tuple(name for name in self.base.names if name not in self._hidden)
        return kept + tuple(name for name in self._whole if name not in kept)

    def info(self, name: str) -> TensorInfo:
        """As the tensor is stored; for base plus delta, as the base stores it."""
        return self.adapter.info(self._whole[name]) if name in self._whole else self.base.info(name)

    def stored_as(self, name: str) -> str:
        """The stored dtype, or "adapter" for base plus delta, which is exact up to float32."""
        return ADAPTED if name in self._lows else self.info(name).dtype

    def changes(self, name: str) -> float | None:
        """‖Δ‖ that the factors add to the tensor; None where they have no part in it."""
        if name not in self._lows:
            return None
        weight = self.base.read(name).float()
        return torch.linalg.vector_norm(self._adapted(name, weight, self._lows[name]) - weight).item()

    def read(self, name: str) -> torch.Tensor:
        """One tensor; base plus delta as float32."""
        if name in self._whole:
            return self.adapter.read(self._whole[name])
        weight = self.base.read(name)
        return self._adapted(name, weight.float(), self._lows[name]) if name in self._lows else weight

    def _adapted(self, name: str, weight: torch.Tensor, low: _Low) -> torch.Tensor:
        a, b = (self.adapter.read(part).float() for part in (low.a, low.b))  # (r, in), (out, r)
        shape = weight.T.shape if low.transposed and weight.ndim == 2 else weight.shape
        rank = a.shape[0] if a.ndim else 0
        if (a.ndim, b.ndim, weight.ndim) != (2, 2, 2) or a.shape[1] != shape[1] or tuple(b.shape) != (shape[0], rank):
            raise InvalidInput(
                f"{self.label} changes {name[:80]!r} of shape {tuple(weight.shape)} by factors of shapes "
                f"{tuple(b.shape)} and {tuple(a.shape)}, which do not fit; give the base it was trained on."
            )
        delta = low.scale * (b @ a)  # (out, in)
        delta = delta.T if low.transposed else delta
        if low.magnitude is None:
            return weight + delta
        length = self.adapter.read(low.magnitude).float().reshape(-1)  # (out,)
        changed = weight + delta
        if low.transposed or length.numel() != shape[0]:
            raise InvalidInput(
                f"{self.label} has {length.numel()} row lengths (DoRA) for {name[:80]!r} {tuple(shape)}."
            )
        return changed * (length / torch.linalg.vector_norm(changed, dim=1)).unsqueeze(1)


def open_adapted(folder: Folder, base: Checkpoint) -> AdaptedCheckpoint:
    """The adapter in `folder` on top of `base`, reading headers only.

    Unsupported for PEFT methods other than LoRA and its kin; InvalidInput for an adapter that is malformed or does
    not fit the base's names.
    """
    config = read_json(folder.file(ADAPTER_CONFIG))
    _check_config(config, folder.label)
    present = folder.names()
    used = [name for name in _FACTORS if name in present][:1] + [name for name in _BESIDE if name in present]
    if not used:
        raise InvalidInput(f"{folder.label} has an {ADAPTER_CONFIG} but no {' or '.join(_FACTORS)}; fetch it again.")
    adapter = Checkpoint(folder.label, [folder.file(name) for name in used], None, strays(present, set(used)), folder)
    factors, whole = _sorted_out(adapter, config)
    known, ambiguous = by_plain_name(base.names)
    lows = {}
    for module, low in factors.items():
        target = known.get(plain(f"{module}.weight"))
        if target is None and split_layout(f"{module}.weight"):
            raise InvalidInput(
                f"{folder.label} changes {module[:80]!r}, a part of the projector that the base {base.label} "
                "does not hold under such a name; give the base it was trained on."
            )
        if target is not None:
            lows[target] = low
    outside = [module for module in factors if plain(f"{module}.weight") not in known]
    replaced = {known.get(plain(name), name): name for name in whole}
    if twice := sorted(lows.keys() & replaced.keys()):
        raise InvalidInput(f"{folder.label} both adds to and replaces {listed(twice)}; which counts is uncertain.")
    result = AdaptedCheckpoint(base, adapter, lows, replaced)
    result.warnings += _notes(config, outside, ambiguous, base)
    if elsewhere := [name for name in (*lows, *replaced) if not split_layout(name)]:
        result.warnings += (
            f"The adapter also changes {len(elsewhere):,} tensors outside the projector, such as "
            f"{listed(elsewhere[:1])}; they are not among the deltas, but in the comparison of the rest.",
        )
    return result


def _notes(config: dict, outside: list[str], ambiguous: tuple[str, ...], base: Checkpoint) -> tuple[str, ...]:
    notes = []
    named = config.get("base_model_name_or_path")
    if isinstance(named, str) and named:
        notes.append(f"The adapter names {named[:120]!r} as its base; it was laid on {base.label}.")
    if outside:
        notes.append(f"The adapter also changes {listed(outside)}, which the base given here does not hold.")
    if ambiguous:
        notes.append(f"The base holds {listed(ambiguous)} under names that wrappers make equal; left as they are.")
    return tuple(notes)


def _check_config(config: dict, label: str) -> None:
    kind = config.get("peft_type")
    if kind != "LORA":
        raise Unsupported(f"{label} is an adapter of type {str(kind)[:40]!r}, expected LORA (with rsLoRA or DoRA).")
    start = str(config.get("init_lora_weights", ""))[:40].lower()
    if start.startswith(_CHANGES_BASE):
        raise Unsupported(
            f"{label} was initialised by {start!r}, which moves a part of the base into the adapter, so its factors "
            "are no change to the published base; have it merged or converted to plain LoRA."
        )
    if config.get("layer_replication"):
        raise Unsupported(f"{label} replicates layers of its base, which makes another model; have it merged.")


def _sorted_out(adapter: Checkpoint, config: dict) -> tuple[dict[str, _Low], list[str]]:
    """{module: its factors}, and the names of whole tensors; InvalidInput for half a pair."""
    parts: dict[str, dict[str, str]] = {}
    whole = []
    for name in adapter.names:
        if ".original_module." in name:
            continue  # the base's own values, kept by PEFT beside the trained ones
        if not (hit := _PART.fullmatch(name)):
            if ".lora_" in name or adapter.info(name).dtype not in FLOATS:
                raise Unsupported(f"{adapter.label} holds {name[:80]!r}, no factor or tensor of a LoRA known here.")
            whole.append(name)
            continue
        kinds = parts.setdefault(hit[1], {})
        if hit[2] in kinds:
            raise InvalidInput(f"{adapter.label} holds {listed([kinds[hit[2]], name])} for one module; keep one.")
        kinds[hit[2]] = name
    lows = {}
    for module, kinds in parts.items():
        embedded = "embedding_A" in kinds
        a, b = (kinds.get(f"embedding_{side}" if embedded else side) for side in ("A", "B"))
        if a is None or b is None:
            raise InvalidInput(
                f"{adapter.label} has only one of the factors A and B of {module[:80]!r}; fetch it again."
            )
        if bool(config.get("use_dora")) != ("magnitude_vector" in kinds):
            raise InvalidInput(
                f"{adapter.label} says use_dora={config.get('use_dora')}, but {module[:80]!r} disagrees."
            )
        scale = _scale(config, plain(module), adapter.info(a).shape, adapter.label)
        lows[module] = _Low(a, b, kinds.get("magnitude_vector"), scale, bool(config.get("fan_in_fan_out")) or embedded)
    return lows, whole


def _scale(config: dict, module: str, shape: tuple[int, ...], label: str) -> float:
    """α/r, or α/√r for rsLoRA, with the module's own α and r where a pattern gives them."""
    rank = _patterned(config, "rank_pattern", module, config.get("r"), label)
    alpha = _patterned(config, "alpha_pattern", module, config.get("lora_alpha"), label)
    for name, value in (("r", rank), ("lora_alpha", alpha)):
        if type(value) not in (int, float) or not 0 < value < 1e9:
            raise InvalidInput(
                f"The {ADAPTER_CONFIG} of {label} has {name} {str(value)[:40]!r}, expected a number > 0."
            )
    if not shape or rank != shape[0]:
        raise InvalidInput(f"{label} stores factors of shape {shape} for {module[:80]!r} but says r is {rank}.")
    return alpha / rank**0.5 if config.get("use_rslora") else alpha / rank


def _patterned(config: dict, key: str, module: str, default: object, label: str) -> object:
    """The value of the first pattern that the module's name ends in, else the default. PEFT takes patterns as regular
    expressions; a hostile one could run for ever, so only names are taken, and anything else is refused."""
    patterns = config.get(key) or {}
    if not isinstance(patterns, dict):
        raise InvalidInput(f"The {ADAPTER_CONFIG} of {label} has a {key} that is not an object.")
    for pattern, value in patterns.items():
        bare = pattern.removeprefix("^").removesuffix("$").replace("\\.", ".")
        if not re.fullmatch(r"[\w.-]+", bare):
            raise Unsupported(f"The {key} of {label} has the expression {pattern[:60]!r}; expected names of modules.")
        if f".{module}".endswith(f".{plain(bare)}"):
            return value
    return default
