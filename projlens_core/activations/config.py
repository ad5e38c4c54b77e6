"""The config.json of a suspect, checked before anything is built from it.

What a loader makes of a config is as hostile as the file: sizes that exhaust memory, kernels and adapters fetched
from elsewhere, classes of its own. Only a plain `llava` of transformers' own parts passes.
"""

from dataclasses import replace

from huggingface_hub.errors import StrictDataclassError
from transformers import LlavaConfig

from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.sources import Source
from projlens_core.weights.checkpoint import Checkpoint, open_checkpoint

# Vision towers that can be run, by model_type → how many tokens stand before the patches (CLS).
LEADING_TOKENS = {"clip_vision_model": 1, "siglip_vision_model": 0}
# Far above every released model; what lies between is held against the weights' own sizes.
LIMITS = {
    "num_hidden_layers": 1_000,
    "hidden_size": 65_536,
    "intermediate_size": 1_000_000,
    "num_attention_heads": 4_096,
    "num_key_value_heads": 4_096,
    "vocab_size": 10_000_000,
    "image_size": 4_096,
    "patch_size": 4_096,
    "num_channels": 64,
}
# Keys that make a loader fetch or build something other than the plain model, and what they mean.
REFUSED = {
    "quantization_config": "is quantised",
    "peft_config": "carries an adapter",
    "transformers_weights": "names a weight file of its own",
}


def open_model(source: Source) -> tuple[Checkpoint, LlavaConfig]:
    """The checkpoint around a projector, headers only, and its checked config.

    Raises Unsupported for other families, towers and quantised models, InvalidInput for a config that is missing,
    malformed or beyond bounds, and for a lone projector file, around which there is no model.
    """
    if source.model is None:
        raise InvalidInput(
            f"{source.label} is a projector without the model around it, so it cannot be run by itself; "
            "name the checkpoint folder it belongs to as base."
        )
    if (source.model / "adapter_config.json").exists():
        raise Unsupported(f"{source.label} carries an adapter (adapter_config.json); merge it into the model first.")
    checkpoint = open_checkpoint(replace(source, weights=source.model))
    return checkpoint, _llava_config(checkpoint)


def _llava_config(checkpoint: Checkpoint) -> LlavaConfig:
    raw, label = checkpoint.config or {}, checkpoint.label
    family = raw.get("model_type")
    if family != "llava":
        raise Unsupported(
            f"{label} is a model of type {str(family)[:80]!r}; only llava can be run so far "
            "(projectors of other families can be compared by their weights)."
        )
    for part in (raw, raw.get("text_config"), raw.get("vision_config")):
        for key, meaning in REFUSED.items():
            if isinstance(part, dict) and part.get(key):
                raise Unsupported(f"{label} {meaning} ({key} in its config); give the plain model.")
    try:
        config = LlavaConfig.from_dict(raw)
    except (ValueError, TypeError, KeyError, AttributeError, StrictDataclassError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InvalidInput(f"The config of {label} does not describe a llava model: {reason}") from error
    for part in (config.text_config, config.vision_config):
        _check_limits(part, label)
    _check_features(config, label)
    return config


def _check_limits(part: object, label: str) -> None:
    for key, limit in LIMITS.items():
        value = getattr(part, key, None)
        if value is not None and not (type(value) is int and 1 <= value <= limit):
            raise InvalidInput(
                f"The config of {label} says {key} {value!r}, expected a whole number from 1 to {limit}."
            )


def _check_features(config: LlavaConfig, label: str) -> None:
    """The tower is one that can be run, its layers exist, and its tokens are just the patches of the grid."""
    tower, strategy = config.vision_config, config.vision_feature_select_strategy
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


def feature_layers(config: LlavaConfig) -> list[int]:
    """The hidden states that the projector reads, in the order in which they are joined; -1 is after the last layer."""
    layers = config.vision_feature_layer
    return [layers] if isinstance(layers, int) else list(layers)
