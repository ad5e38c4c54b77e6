"""Which keys of a stranger's JSON a library is shown, file by file; whatever else stands there, it is not.

Left out are above all paths (`tokenizer_file`, `name_or_path`), code (`auto_map`), other models (`audio_tokenizer`) and
arguments by position (`init_inputs`). Values are checked where they name a class.
"""

from collections.abc import Iterable
from typing import Any

from projlens_core.errors import InvalidInput
from projlens_core.runtime.text import listed

JSON = dict[str, Any]
_TOKEN = ("content", "lstrip", "rstrip", "normalized", "single_word", "special", "__type")
_TOKENIZER = (
    "added_tokens_decoder", "additional_special_tokens", "extra_special_tokens", "add_bos_token", "add_eos_token",
    "add_prefix_space", "chat_control_tokens", "chat_template", "clean_up_tokenization_spaces",
    "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output", "do_basic_tokenize", "do_lower_case",
    "errors", "extra_ids", "from_slow", "keep_accents", "legacy", "legacy_behaviour", "max_len", "max_length",
    "model_input_names", "model_max_length", "never_split", "pad_to_multiple_of", "pad_token_type_id", "padding_side",
    "remove_space", "spaces_between_special_tokens", "split_special_tokens", "stride", "strip_accents",
    "tokenize_chinese_chars", "tokenizer_class", "trim_offsets", "truncation_side", "truncation_strategy", "unk_id",
    "use_default_system_prompt",
)  # fmt: skip
_IMAGES = (
    "image_processor_type", "feature_extractor_type", "crop_size", "crop_to_patches", "default_to_square",
    "do_center_crop", "do_convert_rgb", "do_image_splitting", "do_normalize", "do_pad", "do_pan_and_scan", "do_rescale",
    "do_resize", "downsample_mode", "dynamic_hd", "high_res_image_mean", "high_res_image_std", "high_res_resample",
    "high_res_size", "image_grid_pinpoints", "image_mean", "image_seq_length", "image_std", "max_crops",
    "max_image_size", "max_image_tiles", "max_patches", "max_pixels", "max_slice_nums", "max_soft_tokens", "merge_size",
    "min_patches", "min_pixels", "min_size", "overlap_margins", "pad_size", "padding_mode", "padding_value",
    "pan_and_scan_max_num_crops", "pan_and_scan_min_crop_size", "pan_and_scan_min_ratio_to_activate", "patch_size",
    "pooling_kernel_size", "pooling_size", "resample", "rescale_factor", "resize_to_max_canvas", "return_row_col_info",
    "scale_resolution", "size", "slice_mode", "temporal_patch_size", "use_covering_area_grid", "use_image_id",
)  # fmt: skip
_PROCESSOR = (
    *("chat_template", "image_token", "patch_size", "num_additional_image_tokens", "image_seq_length"),
    "vision_feature_select_strategy",
)
_CONFIG = ("model_type", "transformers_version", "tokenizer_class")


def of_config(found: JSON) -> JSON:
    """config.json, as far as a tokenizer or an image processor is chosen by it."""
    kept = {key: value for key, value in _only(found, _CONFIG).items() if isinstance(value, str)}
    return _checked_class(kept)


def of_tokenizer(found: JSON) -> JSON:
    """tokenizer_config.json."""
    kept = _only(found, _TOKENIZER) | _tokens(found)
    decoder = kept.get("added_tokens_decoder")
    if isinstance(decoder, dict):
        kept["added_tokens_decoder"] = {number: _token(token) for number, token in decoder.items()}
    return _checked_class(kept)


def of_special_tokens(found: JSON) -> JSON:
    """special_tokens_map.json, whose entries would overrule those of the tokenizer's config."""
    return _tokens(found) | _only(found, ("additional_special_tokens", "extra_special_tokens"))


def of_added_tokens(found: JSON) -> JSON:
    """added_tokens.json: texts and their numbers."""
    return {text: number for text, number in found.items() if type(number) is int}


def of_chat_template(found: JSON) -> JSON:
    """chat_template.json."""
    return _only(found, ("chat_template",))


def of_processor(found: JSON) -> JSON:
    """processor_config.json, of which newer releases keep the image processor's settings, too."""
    kept = _only(found, _PROCESSOR)
    if isinstance(found.get("image_processor"), dict):
        kept["image_processor"] = of_images(found["image_processor"])
    return kept


def of_images(found: JSON) -> JSON:
    """preprocessor_config.json."""
    return _only(found, _IMAGES)


def of_generation(found: JSON) -> JSON:
    """generation_config.json: which tokens end an answer, not how it is found."""
    return _only(found, ("bos_token_id", "eos_token_id", "pad_token_id"))


def _only(found: JSON, names: Iterable[str]) -> JSON:
    return {name: found[name] for name in names if name in found}


def _tokens(found: JSON) -> JSON:
    """All that names a token: "eos_token", "image_token", …"""
    return {key: _token(value) for key, value in found.items() if key.endswith("_token") and not key.startswith("add_")}


def _token(value: Any) -> Any:
    return _only(value, _TOKEN) if isinstance(value, dict) else value


def _checked_class(kept: JSON) -> JSON:
    """InvalidInput where the class of the tokenizer is something else of transformers'; names that it does not know
    stay, for which it takes its general class.
    """
    from transformers import PreTrainedTokenizerBase  # only where something is read: it takes seconds
    from transformers.models.auto.tokenization_auto import tokenizer_class_from_name

    name = kept.get("tokenizer_class")
    if name is None:
        return kept
    known = tokenizer_class_from_name(name) if isinstance(name, str) and name.isidentifier() else object
    absent = hasattr(known, "_backends")  # stands for a class that needs a package that is not installed
    if known is None or absent or (isinstance(known, type) and issubclass(known, PreTrainedTokenizerBase)):
        return kept
    raise InvalidInput(
        f"A config names {listed([str(name)])} as its tokenizer's class, expected a tokenizer of transformers; "
        "fetch the checkpoint again, or take one whose maker you trust."
    )
