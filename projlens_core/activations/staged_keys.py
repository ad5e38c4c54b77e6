"""Which keys of a stranger's JSON a library is shown, file by file; whatever else stands there, it is not.

Left out are above all paths (`tokenizer_file`, `name_or_path`), code (`auto_map`), other models (`audio_tokenizer`) and
arguments by position (`init_inputs`). Values are checked where they name a class.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from projlens_core.errors import InvalidInput
from projlens_core.runtime.text import listed

JSON = dict[str, Any]
IMAGES = "preprocessor_config.json"
# {file: the keys that are kept of it}, those that name tokens besides
_KEPT: dict[str, list[str]] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))


def kept(file: str, found: JSON) -> JSON:
    """What is kept of a file of this name; InvalidInput for a tokenizer's class that is something else."""
    if file == "added_tokens.json":  # texts and their numbers
        return {text: number for text, number in found.items() if type(number) is int}
    shown = _only(found, _KEPT[file])
    match file:
        case "config.json":  # as far as a tokenizer or an image processor is chosen by it
            return _checked_class({key: value for key, value in shown.items() if isinstance(value, str)})
        case "tokenizer_config.json":
            shown |= _tokens(found)
            decoder = shown.get("added_tokens_decoder")
            if isinstance(decoder, dict):
                shown["added_tokens_decoder"] = {number: _token(token) for number, token in decoder.items()}
            return _checked_class(shown)
        case "special_tokens_map.json":  # whose entries would overrule those of the tokenizer's config
            return _tokens(found) | shown
        case "processor_config.json":  # of which newer releases keep the image processor's settings, too
            images = found.get("image_processor")
            return shown | ({"image_processor": kept(IMAGES, images)} if isinstance(images, dict) else {})
    return shown


def _only(found: JSON, names: Iterable[str]) -> JSON:
    return {name: found[name] for name in names if name in found}


def _tokens(found: JSON) -> JSON:
    """All that names a token: "eos_token", "image_token", …"""
    return {key: _token(value) for key, value in found.items() if key.endswith("_token") and not key.startswith("add_")}


def _token(value: Any) -> Any:
    return _only(value, _KEPT["a token"]) if isinstance(value, dict) else value


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
