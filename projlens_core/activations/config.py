"""The config.json of a suspect, checked before anything is built from it.

What a loader makes of a config is as hostile as the file: sizes that exhaust memory, kernels and adapters fetched
from elsewhere, classes of its own. Only plain models of transformers' own parts pass.
"""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    LlavaConfig,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.activations import ACT2FN

from projlens_core.activations.sizes import check_config, check_depth, values
from projlens_core.activations.staging import IMAGES, StagedFolder
from projlens_core.errors import InvalidInput, Unsupported, as_invalid_input
from projlens_core.runtime.cache import content_key, store, stored
from projlens_core.runtime.child import run_in_child
from projlens_core.sources import PREFIX, Source
from projlens_core.weights.checkpoint import Checkpoint
from projlens_core.weights.families import Family, families
from projlens_core.weights.opening import open_checkpoint

# Vision towers that can be run, by model_type → how many tokens stand before the patches (CLS).
LEADING_TOKENS = {"clip_vision_model": 1, "siglip_vision_model": 0}
PASSED = "passed"  # the cache of what a child process has read without harm
MEMORY, SECONDS, ANSWER = 2**32, 60.0, 2**16  # that making a model without weights, and preparing an image, may take
_TABLE = json.loads(Path(__file__).with_name("config_limits.json").read_text(encoding="utf-8"))
# Far above every released model; what lies between is compared with the weights' own sizes. No weight tells Kimi's
# pos_emb_time, the length of a table that is computed.
LIMITS: dict[str, int] = _TABLE["limits"]
# Keys that make a loader fetch or build something other than the plain model, and what they mean.
REFUSED: dict[str, str] = _TABLE["refused"]
ACTIVATIONS = {"hidden_act", "hidden_activation", "activation_function", "projector_hidden_act"}
# Model types whose weights are those of a family that is run, but which are not run themselves, and why.
NOT_RUN = dict.fromkeys(
    ("qwen3_5", "qwen3_5_moe"), "its language model keeps a state besides keys and values, which this version does not"
)
# Keys that say where a config comes from, which code belongs to it and by which kernels it runs: not what it computes.
DROPPED = {
    "auto_map", "custom_pipelines", "_name_or_path", "name_or_path", "_commit_hash", "kernel_config", "use_kernels",
    *(f"{of}_implementation{form}" for of in ("attn", "_attn", "experts", "_experts") for form in ("", "_internal")),
}  # fmt: skip
NOT_BUILT = ("audio_config",)  # what hears is left out, or made as small as it can be


def open_family(source: Source, base: Source | None = None) -> tuple[Checkpoint, PreTrainedConfig, Family]:
    """The checkpoint around a projector, headers only, its checked config and its family.

    base is the whole model that an adapter lies on, and whose config it has; None for what is no adapter.
    Raises Unsupported, with the reason, for families and towers that cannot be run and for quantised models;
    InvalidInput for a config that is missing, malformed or beyond bounds, and for a lone projector file, around which
    there is no model.
    """
    if base is not None:
        _, config, family = open_family(base)
        return open_checkpoint(source, replace(base, weights=base.folder)), config, family
    if source.model is None and source.hub is not None:
        raise InvalidInput(
            f"{source.label} lies on the Hub, of which only parts are read; download the whole model and give its path."
        )
    if source.model is None:
        raise InvalidInput(
            f"{source.label} is a projector without the model around it, so it cannot be run by itself; "
            "name the checkpoint folder it belongs to as base."
        )
    if (source.model / "adapter_config.json").exists():
        raise Unsupported(f"{source.label} carries an adapter (adapter_config.json); merge it into the model first.")
    checkpoint = open_checkpoint(replace(source, weights=source.model))
    check_depth(checkpoint.config or {}, checkpoint.label)
    raw, label = copy.deepcopy(checkpoint.config or {}), checkpoint.label
    family = _family(raw.get("model_type"), label)
    built = {key: value for key, value in raw.items() if key not in NOT_BUILT}
    for part in (part for _, _, part in values(built) if isinstance(part, dict)):  # the config, and all within it
        for key, meaning in REFUSED.items():
            if part.get(key):
                raise Unsupported(f"{label} {meaning} ({key} in its config); give the plain model.")
        for key in (key for key in LIMITS if key in part):  # in their order
            if type(part[key]) is int and part[key] > LIMITS[key]:
                raise _beyond(label, key, part[key])
        for key in ACTIVATIONS & part.keys():
            if part[key] is not None and str(part[key]) not in ACT2FN:
                raise Unsupported(
                    f"The config of {label} has {key} {str(part[key])[:80]!r}, an activation that transformers does "
                    "not know, so it cannot be run."
                )
        for key in DROPPED & part.keys():
            del part[key]
    check_config(built, checkpoint)
    check_config({key: raw[key] for key in NOT_BUILT if key in raw}, checkpoint, counts_alone=True)
    if not source.spec.startswith(PREFIX):
        _rehearse(source, raw, family)
    with as_invalid_input(f"The config of {label} does not describe a {family.name} model"):
        config = CONFIG_MAPPING[raw["model_type"]].from_dict(raw)
    for described in (config, config.get_text_config(), getattr(config, "vision_config", None)):
        _check_limits(described, label)
    if isinstance(config, LlavaConfig):
        _check_features(config, label)
    return checkpoint, config, family


def _rehearse(source: Source, config: dict[str, Any], family: Family) -> None:
    """InvalidInput if making the model, or preparing an image for it, harms a bounded child process."""
    with StagedFolder(source.folder, source.label, IMAGES) as stage:
        key = content_key(stage.key, json.dumps(config, sort_keys=True), family.name)
        if stored(PASSED, key) is not None:
            return
        run_in_child(
            "projlens_core.activations.rehearsal:sketch",
            {"config": config, "folder": str(stage.path), "family": family.name},
            what=f"What the config of {source.label} describes",
            memory=MEMORY,
            seconds=SECONDS,
            output=ANSWER,
        )
        store(PASSED, key, b"")


def whole_class(config: PreTrainedConfig) -> type[PreTrainedModel]:
    """transformers' class of the whole model, language model and head included."""
    known = type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING  # Phi-4 is not
    # Each config has one class in these two; others of the library's tables have several.
    return (MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING if known else MODEL_FOR_CAUSAL_LM_MAPPING)[type(config)]  # type: ignore[return-value]


def _family(model_type: object, label: str) -> Family:
    """The family of a model type that transformers loads; Unsupported for all others."""
    found = [each for each in families().values() if model_type in each.model_types]
    if not isinstance(model_type, str) or not found or model_type not in CONFIG_MAPPING:
        raise Unsupported(
            f"{label} is a model of type {str(model_type)[:80]!r}, which transformers does not load, so it is not run "
            "(its projector may still be compared by its weights)."
        )
    if reason := NOT_RUN.get(model_type):
        raise Unsupported(
            f"{label} is a model of type {model_type!r}, which is compared by its weights but not run: {reason}."
        )
    return found[0]


def _check_limits(part: object, label: str) -> None:
    for key, limit in LIMITS.items():
        value = getattr(part, key, None)
        values = value if isinstance(value, list | tuple) else [value]
        if value is not None and not all(type(v) is int and 1 <= v <= limit for v in values):
            raise _beyond(label, key, value)


def _beyond(label: str, key: str, value: object) -> InvalidInput:
    said = repr(value) if len(repr(value)) <= 40 else f"{repr(value)[:39]}…"
    return InvalidInput(f"The config of {label} says {key} {said}, expected a whole number from 1 to {LIMITS[key]}.")


def _check_features(config: LlavaConfig, label: str) -> None:
    """The tower is one that can be run, its layers exist, and its tokens are just the patches of the grid."""
    tower, strategy = vision_config(config), config.vision_feature_select_strategy
    if tower.model_type not in LEADING_TOKENS:
        raise Unsupported(
            f"{label} has a vision tower of type {tower.model_type!r}; expected {' or '.join(LEADING_TOKENS)}."
        )
    layers = feature_layers(config)
    deepest = tower.num_hidden_layers
    if not layers or any(not -deepest - 1 <= layer <= deepest for layer in layers):
        raise InvalidInput(f"The config of {label} reads vision layers {layers}, but the tower has {deepest}.")
    dropped = {"default": 1, "full": 0}.get(strategy)
    if dropped != LEADING_TOKENS[tower.model_type]:
        raise Unsupported(
            f"{label} selects vision features by {strategy!r} from a {tower.model_type}, which leaves tokens that are "
            "no patch of the image or drops some; its tokens cannot be laid on a grid."
        )
    if tower.image_size % tower.patch_size:
        raise Unsupported(
            f"{label} cuts images of {tower.image_size} px into patches of {tower.patch_size} px, which do not fit."
        )


def vision_config(config: LlavaConfig) -> Any:
    """The tower's config: CLIP's or SigLIP's, which have the same attributes."""
    return config.vision_config


def feature_layers(config: LlavaConfig) -> list[int]:
    """The hidden states that the projector reads, in the order in which they are joined; -1 is after the last layer."""
    layers = config.vision_feature_layer
    return [layers] if isinstance(layers, int) else list(layers)
