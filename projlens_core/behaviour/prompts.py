"""What stands in a prompt where the image goes, family by family: as the library's own processors write it.

They are not used themselves, since many cannot be made without packages for video that ProjLens does not install.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from projlens_core.activations.layout import TokenMap
from projlens_core.activations.vision import PreparedImage
from projlens_core.behaviour.chat import chat, check_placed, check_question
from projlens_core.behaviour.templates import Template
from projlens_core.errors import InvalidInput
from projlens_core.runtime.required import required


@dataclass(frozen=True)
class Place:
    """All that decides how an image is written: how many embeddings it has (newlines included), its layout, the texts
    of the tokens that stand for one embedding (soft) and for the whole image in a chat template (marker), and what the
    library's own processor is told (settings).
    """

    embeddings: int
    prepared: PreparedImage
    layout: TokenMap
    tokenizer: PreTrainedTokenizerBase
    soft: str
    marker: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class Style:
    """written: the text that replaces the marker, which is `marker`, an attribute of the tokenizer that names it, or
    without one the text of the token that stands for one embedding. types: which extra input marks image tokens by 1,
    and those in `counted`. begins: whether the prompt begins with the sign for that, or else for the end of a text.
    whole: the prompt of families without a chat, around {question} and {image}, with {begin} for the sign of its
    beginning; plain: to which the tokenizer adds nothing of its own; ahead: without the image, which becomes tokens by
    itself and stands before whatever the tokenizer puts before a text. reader: the folder of the tokenizer that the
    projector's own reading of the question has. filled: the image's features are put into the text's embeddings before
    the language model is asked, since the model as a whole does not take them. spaced: whether a word that follows the
    image at once is set off from it. one_text: whether the family's chat templates may take a message as one text with
    the marker in it.
    crossed: the image has one place in the text, whatever the number of its embeddings, which the language model reads
    apart from it by cross-attention.
    """

    written: Callable[[Place], str] = lambda place: place.soft * place.embeddings
    marker: str | None = None
    types: str | None = None
    counted: tuple[str, ...] = ()
    begins: bool = False
    whole: str | None = None
    plain: bool = False
    ahead: bool = False
    reader: str | None = None
    filled: bool = False
    spaced: bool = False
    one_text: bool = False
    crossed: bool = False


def _internvl(place: Place) -> str:
    start = getattr(place.tokenizer, "start_image_token", None) or "<img>"
    end = getattr(place.tokenizer, "end_image_token", None) or "</img>"
    return f"{start}{place.soft * place.embeddings}{end}"


def _idefics(place: Place) -> str:
    """Each tile behind its row and column, a line for each row, the whole image last."""
    rows, columns = (int(place.prepared.inputs[name][0][0]) for name in ("rows", "cols"))
    each = place.soft * (place.embeddings // (rows * columns + 1))
    lines = [
        "".join(f"{_FAKE}<row_{row + 1}_col_{column + 1}>{each}" for column in range(columns)) for row in range(rows)
    ]
    return "\n".join(lines) + "\n\n" * bool(lines) + f"{_FAKE}<global-img>{each}{_FAKE}"


def _between(place: Place) -> str:
    return f"{place.tokenizer.boi_token}{place.soft * place.embeddings}{place.tokenizer.eoi_token}"


def _ovis2(place: Place) -> str:
    """The whole image, then each tile, row by row."""
    rows, columns = place.prepared.inputs["grids"][0].tolist()
    each = place.soft * (place.embeddings // (rows * columns + (rows * columns > 1)))
    lines = ["<IMG_COL>".join([each] * columns)] * rows if rows * columns > 1 else []
    return f"<IMG_START>{each}<IMG_GRID>{'<IMG_ROW>'.join(lines)}<IMG_END>"


def _aya(place: Place) -> str:
    """Each tile behind its number, the whole image last."""
    tiles = len(place.prepared.inputs["pixel_values"])
    each = place.soft * (place.embeddings // tiles)
    numbered = "".join(f"TILE_{i}{each}" for i in range(1, tiles))
    return f"<|START_OF_IMG|>{numbered}TILE_GLOBAL{each}<|END_OF_IMG|>"


def _command_a(place: Place) -> str:
    """Each tile on a line of its own, the whole image last."""
    tiles = len(place.prepared.inputs["pixel_values"])
    each = f"{place.soft * (place.embeddings // tiles)}{place.tokenizer.img_line_break_token}"
    return f"{place.tokenizer.boi_token}{each * tiles}{place.tokenizer.eoi_token}"


def _llama4(place: Place) -> str:
    """The tiles row by row, then the whole image behind the token that stands for it in a chat."""
    rows, columns = place.prepared.inputs["aspect_ratios"][0].tolist()
    each = place.soft * (place.embeddings // len(place.prepared.inputs["pixel_values"]))
    row = "<|tile_x_separator|>".join([each] * columns) + "<|tile_y_separator|>"
    return f"<|image_start|>{row * rows * (rows * columns > 1)}{place.marker}{each}<|image_end|>"


def _gemma3(place: Place) -> str:
    return f"\n\n{place.marker}{place.soft * place.embeddings}{place.tokenizer.eoi_token}\n\n"


def _mistral3(place: Place) -> str:
    rows, columns = required(place.layout.grid, "the grid of the image's tokens")
    return "[IMG_BREAK]".join([place.soft * columns] * rows) + "[IMG_END]"


_FAKE = "<fake_token_around_image>"
_MOLMO = ("<im_patch>", "<im_col>", "<im_start>", "<low_res_im_start>", "<im_end>")


def _molmo(place: Place) -> str:
    """The whole image, then its crops as one, each row behind a sign where the library's processor is told so."""
    low_rows, low_columns, rows, columns = place.prepared.inputs["image_grids"][0].tolist()
    signs = place.settings.get("image_use_col_tokens", True)
    few = place.settings.get("use_single_crop_col_tokens")
    low, high = (
        f"{place.soft * wide}{'<im_col>' * sign}" * tall
        for tall, wide, sign in ((low_rows, low_columns, signs if few is None else few), (rows, columns, signs))
    )
    start = "<low_res_im_start>" if place.settings.get("use_single_crop_start_token", True) else "<im_start>"
    return f"{start}{low}<im_end><im_start>{high}<im_end>"


def _minicpm(place: Place) -> str:
    """The whole image behind its number, then each slice, a line for each row."""
    rows, columns = place.prepared.inputs["grids"][0]
    whole = len(place.layout.only(["patch", "thumbnail"]))
    each = place.soft * ((place.embeddings - whole) // max(rows * columns, 1))
    image, end, cut, closed, number, counted = (
        getattr(place.tokenizer, f"{name}_token", None) or text
        for name, text in (
            ("image_start", "<image>"),
            ("image_end", "</image>"),
            ("slice_start", "<slice>"),
            ("slice_end", "</slice>"),
            ("image_id_start", "<image_id>"),
            ("image_id_end", "</image_id>"),
        )
    )
    lines = [f"{cut}{each}{closed}" * columns] * rows
    return f"{number}0{counted}{image}{place.soft * whole}{end}" + "\n".join(lines)


def _rows(place: Place) -> str:
    rows, columns = required(place.layout.grid, "the grid of the image's tokens")
    return f"{place.soft * columns}|NEWLINE|" * rows + "<s>"


_QWEN = Style(types="mm_token_type_ids")
STYLES: dict[str, Style] = {
    "llava_next": Style(),
    "llava_onevision": Style(),
    "vipllava": Style(),
    "paligemma": Style(whole="{image}{begin}{question}\n", plain=True),
    "gemma3": Style(_gemma3, marker="boi_token", types="token_type_ids"),
    "gemma4": Style(_between, types="mm_token_type_ids"),
    "gemma4_unified": Style(_between, types="mm_token_type_ids"),
    "deepseek_vl": Style(),
    "deepseek_vl_hybrid": Style(),
    "janus": Style(_between),
    "ovis2": Style(_ovis2, marker="<image>"),
    "molmo": Style(_molmo, marker="<|image|>", types="mm_token_type_ids", counted=_MOLMO, begins=True),
    "minicpmv4_6": Style(_minicpm, types="mm_token_type_ids"),
    "aya_vision": Style(_aya, marker="<image>"),
    "cohere2_vision": Style(_command_a),
    "llama4": Style(_llama4, marker="<|image|>", filled=True),
    "kimi_k25": Style(),
    "qwen2_vl": _QWEN,
    "qwen2_5_vl": _QWEN,
    "qwen3_vl": _QWEN,
    "glm4v": _QWEN,
    "internvl": Style(_internvl),
    "blip2": Style(whole="Question: {question} Answer:", ahead=True, filled=True),
    "instructblip": Style(whole="{question}", ahead=True, reader="qformer_tokenizer", filled=True),
    "idefics2": Style(lambda place: f"{_FAKE}{place.soft * place.embeddings}{_FAKE}", spaced=True),
    "idefics3": Style(_idefics),
    "smolvlm": Style(_idefics),
    "mistral3": Style(_mistral3),
    "mllama": Style(lambda place: place.soft, crossed=True),
    "phi4_multimodal": Style(filled=True, one_text=True),
    "fuyu": Style(_rows, whole="{question}<0x04>", plain=True, ahead=True, filled=True),
}
# Families whose activations are taken, and why their answers are not all the same.
NO_STYLE: dict[str, str] = {}


def image_token(config: PreTrainedConfig) -> int | None:
    """The id of the token that stands for one image embedding; None where a config says none."""
    return config.image_token_id if hasattr(config, "image_token_id") else config.vision_config.image_token_id


def texts(family: str, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> tuple[str, str]:
    """The text of the token that stands for one image embedding, and of the one that stands for an image in a chat."""
    number = image_token(config)
    soft = None if number is None else tokenizer.convert_ids_to_tokens(number)
    named = STYLES[family].marker
    marker = soft if named is None else named if named.startswith("<") else getattr(tokenizer, named, None)
    if not isinstance(soft, str) or not isinstance(marker, str):
        raise InvalidInput(f"The tokenizer has no text for the image token {number} of the config.")
    return soft, marker


def token_ids(family: str, question: str, place: Place, template: Template, label: str) -> list[int]:
    """The prompt as token ids, with the image's placeholders in it; InvalidInput for one that cannot be asked."""
    check_question(question, place.marker, place.soft)
    style = STYLES[family]
    written = style.written(place)
    soft: Any = place.tokenizer.convert_tokens_to_ids(place.soft)  # one id, since it is one token
    if style.whole:
        text = style.whole.format(question=question, image=written, begin=place.tokenizer.bos_token)
    else:
        text = chat(question, place.marker, place.tokenizer, template, label, one_text=style.one_text)
        if style.spaced:
            text = re.sub(rf"{re.escape(place.marker)}(?=[^\s<])", f"{place.marker} ", text)
        text = text.replace(place.marker, written)
        first = (place.tokenizer.bos_token or place.tokenizer.eos_token or "") if style.begins else ""
        text = text if text.startswith(first) else first + text
    begun = place.tokenizer.bos_token is not None and text.startswith(place.tokenizer.bos_token)
    ids: list[int] = place.tokenizer(text, add_special_tokens=not (begun or style.plain))["input_ids"]
    if style.ahead:
        image: list[int] = place.tokenizer(written, add_special_tokens=False)["input_ids"]
        ids = image[image.index(soft) if soft in image else 0 :] + ids  # some tokenizers begin a text with a space
    check_placed(ids.count(soft), 1 if style.crossed else place.embeddings, label)
    return ids


def types(family: str, ids: torch.Tensor, config: PreTrainedConfig, place: Place) -> dict[str, Any]:
    """What the model wants to be told about which tokens are the image, {name: (1, length)}, or see it and which tiles
    of it, {name: (1, length, 1, tiles)}; or nothing.
    """
    style, soft = STYLES[family], image_token(config)
    if style.crossed:
        after = (ids == required(soft, "the id of the image token")).long().cumsum(dim=1)[:, :, None, None]
        return {"cross_attention_mask": after * place.prepared.inputs["aspect_ratio_mask"][:, None].to(ids.device)}
    known = place.tokenizer.get_vocab()
    counted = [soft, *(known[sign] for sign in style.counted if sign in known)]
    return {style.types: torch.isin(ids, torch.tensor(counted, device=ids.device)).long()} if style.types else {}
