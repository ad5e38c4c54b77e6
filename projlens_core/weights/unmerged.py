"""Models that were saved with their adapters beside the weights, in one set of files, as trainers do who skip merging.

Either the whole state is there, so that the model is read merged, or the factors alone, which need a base like any
adapter. What the factors are scaled by is in no weight file: it must lie beside them.
"""

from collections.abc import Callable, Mapping

import torch

from projlens_core.runtime.text import listed
from projlens_core.weights.adapter import UnmergedCheckpoint, laid, merged
from projlens_core.weights.adapter_names import Contents, sort_out
from projlens_core.weights.adapter_settings import AdapterSettings
from projlens_core.weights.checkpoint import ADAPTER_CONFIG, Checkpoint
from projlens_core.weights.families import split_layout
from projlens_core.weights.folder import Folder
from projlens_core.weights.quantised.tensor import Stored
from projlens_core.weights.tensorfile import read_json

_ARGUMENTS = ("args.json", "sft_args.json")  # ms-swift's
_TUNERS = ("tuner_type", "train_type", "sft_type")  # what it called the kind of adapter over its versions

_ALIKE = ("lora_alpha", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern")  # as PEFT calls them


class _Underneath(Checkpoint):
    """The weights of a model under its adapters, by the names that they had before."""

    def __init__(self, state: Checkpoint, stored: Mapping[str, str]):
        """stored: {own name: name in `state`}."""
        self._state, self._stored = state, dict(stored)
        self.label, self.config, self.folder, self.warnings = state.label, state.config, state.folder, state.warnings

    @property
    def bytes_read(self) -> int:
        """None of its own: the adapters lie in the same files, and count them."""
        return 0

    @property
    def names(self) -> tuple[str, ...]:
        """Own names."""
        return tuple(self._stored)

    def info(self, name: str) -> Stored:
        """As it is stored."""
        return self._state.info(self._stored.get(name, name))

    def read(self, name: str) -> torch.Tensor:
        """As it is stored, without what the adapters add."""
        return self._state.read(self._stored.get(name, name))


def with_adapters(state: Checkpoint, folder: Folder | None, base: Callable[[], Checkpoint]) -> Checkpoint:
    """The model that files with factors among their tensors make; on what `base` opens if they hold the factors alone.

    folder: where the factors' config may lie. A model that keeps several adapters for itself, none of them in the
    projector, is left as it is, and that is said. Errors as `base`, for factors alone.
    """
    contents = sort_out(state.names)
    several = frozenset().union(*(factors.named for factors in contents.factors.values()))
    if len(several) > 1 and not any(split_layout(f"{module}.weight") for module in contents.factors):
        state.warnings += (
            f"It keeps the adapters {listed(sorted(several))} beside the weights of its language model, and which of "
            "them acts is decided when it runs; they are not merged.",
        )
        return state
    settings = _settings(folder, state.label)
    there = contents.whole | contents.underneath
    if not any(f"{module}.weight" in there for module in contents.factors):
        return laid(state, settings, base())
    copies = Contents(factors=contents.factors, rows=contents.rows, copies=contents.copies, odd=contents.odd)
    copies.twice.update(contents.twice)
    return merged(UnmergedCheckpoint, state, settings, _Underneath(state, contents.originals | there), copies)


def _settings(folder: Folder | None, label: str) -> AdapterSettings:
    """From PEFT's config, or ms-swift's arguments; else settings that say what is missing when they are asked."""
    if folder is None:
        return AdapterSettings(label, {}, absent=True)
    present = folder.names()
    if ADAPTER_CONFIG in present:
        return AdapterSettings(label, read_json(folder.file(ADAPTER_CONFIG)))
    for name in _ARGUMENTS:
        if name in present:
            arguments = read_json(folder.file(name))
            kind = next((arguments[key] for key in _TUNERS if isinstance(arguments.get(key), str)), None)
            if kind is not None:
                return AdapterSettings(label, _from_arguments(arguments, kind), name)
    return AdapterSettings(label, {}, absent=True)


def _from_arguments(arguments: dict, kind: str) -> dict:
    start = arguments.get("init_lora_weights", arguments.get("init_weights", True))
    named = {"true": True, "false": False}
    return {
        "peft_type": kind.upper(),
        "r": arguments.get("lora_rank"),
        "init_lora_weights": named.get(start.lower(), start) if isinstance(start, str) else start,
        **{key: arguments.get(key) for key in _ALIKE},
    }
