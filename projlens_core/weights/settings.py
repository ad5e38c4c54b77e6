"""What a config decides of a projector and its tensors do not show: activations, epsilons, sizes of heads.

A comparison of weights runs nothing, so for it they are read as they stand; before anything is run they are checked.
"""

from collections.abc import Mapping

import torch
from torch import nn

from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.runtime.text import printable
from projlens_core.weights.families import Family
from projlens_core.weights.layer import INSTRUCTION, Layer

Settings = dict[str, str | float]
_SAME = {"swish": "silu"}  # two names of one function, bit for bit
_MAX_SHOWN = 80


def read_settings(family: Family, config: Mapping[str, object]) -> Settings:
    """{layer, or layer.key: value}: the config's where it gives one, else the family's own.

    What is neither text nor a number is taken as its text, so that two configs can still be told apart.
    """
    settings: Settings = {}
    for layer in family.layers:
        for key, default in (layer.config or {}).items():
            settings[f"{layer.name}.{key}"] = _value(config, f"{layer.config_key}.{key}", default)
        if layer.kind == "instructed_qformer":
            settings[f"{layer.name}.instruction"] = INSTRUCTION
        if layer.default is not None:
            settings[layer.name] = _value(config, layer.config_key, layer.default)
    return settings


def check_settings(family: Family, settings: Settings, label: str) -> None:
    """Unsupported or InvalidInput, in a sentence about the config of `label`, for what no layer can be run with."""
    for layer in family.layers:
        for key, default in (layer.config or {}).items():
            value = settings[f"{layer.name}.{key}"]
            if not _sound(value, default):
                raise Unsupported(
                    f"The config of {label} has {layer.config_key}.{key} {value!r}, which this version cannot run; "
                    f"expected something like {default!r}."
                )
        if layer.default is not None:
            _check(layer, settings[layer.name], label)


def activation(name: str) -> nn.Module:
    """The activation that transformers' configs call `name`; KeyError if there is none."""
    from transformers.activations import ACT2FN  # only where something is run

    return ACT2FN[name]


def is_activation(name: object) -> bool:
    """Whether transformers knows an activation of this name, one without weights of its own."""
    try:
        with torch.device("meta"):
            return isinstance(name, str) and not list(activation(name).parameters())
    except (KeyError, ImportError):  # some of them ask for a library that may not be there
        return False


def _check(layer: Layer, value: str | float, label: str) -> None:
    shown = f"The config of {label} has {layer.config_key} {value!r}"
    if layer.kind in ("activation", "gated_mlp"):
        if not is_activation(value):
            raise Unsupported(f"{shown}, an activation that transformers does not know, so it cannot be run.")
    elif layer.kind == "softmax":
        if value != "softmax":
            raise Unsupported(f"{shown}, which this version cannot run; it knows softmax.")
    elif isinstance(value, str | bool) or not 0 <= value < 1:
        raise InvalidInput(f"{shown}, expected a number from 0 to below 1.")


def _sound(value: str | float, default: str | float) -> bool:
    if type(value) is not type(default):
        return False
    if isinstance(value, str):
        return is_activation(value)
    return value >= 1 if isinstance(value, int) else 0 <= value < 1


def _value(config: Mapping[str, object], path: str | None, default: str | float) -> str | float:
    """What the config says under a dotted key, else the default."""
    value: object = config if path else None
    for key in path.split(".") if path else ():
        value = value.get(key) if isinstance(value, dict) else None
    if value is None:
        return default
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    text = str(value)
    text = printable(text) if text else text
    text = text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 1]}…"
    return _SAME.get(text, text)
