"""Families whose images lie in the corner of a padded canvas, or whose projector reads more than images: what makes
their image embeddings, which of those are of the image, and where they come from.
"""

import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import BatchFeature, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from projlens_core.activations.layout import Box, TokenMap, boxes, padded, tiled_canvas
from projlens_core.activations.vision import PreparedImage
from projlens_core.errors import InvalidInput

Tensors = Mapping[str, torch.Tensor]


def corner(prepared: PreparedImage, rows: int, columns: int, side: int) -> Box:
    """What rows × columns squares of `side` px cover of the image that lies in their upper left corner."""
    height, width = prepared.inputs["scaled"][0].tolist()
    return 0, 0, columns * side / width, rows * side / height


# --- patches of the image itself, which no tower reads before the projector


def _cut_grid(inputs: BatchFeature, processor: Any) -> tuple[int, int, Box]:
    """Rows and columns of the patches that hold some of the image, in the corner of a canvas, and what they cover."""
    height, width = (int(inputs[f"image_unpadded_{sides}"][0][0]) for sides in ("heights", "widths"))
    high, wide = processor.patch_size["height"], processor.patch_size["width"]
    rows, columns = -(-height // high), -(-width // wide)
    return rows, columns, (0.0, 0.0, columns * wide / width, rows * high / height)


def cut(inputs: BatchFeature, processor: Any) -> BatchFeature:
    """Fuyu's patches, (1, T, pixels of one) as pixel_values, which its own processor cuts."""
    rows, columns, _ = _cut_grid(inputs, processor)
    high, wide = processor.patch_size["height"], processor.patch_size["width"]
    canvas = inputs["images"].flatten(0, -4)[0]  # (channels, height, width)
    patches = canvas.unfold(1, high, high).unfold(2, wide, wide)[:, :rows, :columns]  # (c, rows, columns, high, wide)
    inputs["pixel_values"] = patches.permute(1, 2, 3, 4, 0).reshape(1, rows * columns, len(canvas) * high * wide)
    return inputs


def last_states(model: Any) -> Callable[..., Any]:
    """Fuyu's are the embeddings; Llama 4 projects its own where it puts them into the text."""
    project = getattr(model, "multi_modal_projector", nn.Identity())

    def read(pixel_values: torch.Tensor) -> Any:
        return BaseModelOutputWithPooling(
            pooler_output=project(model.get_image_features(pixel_values).last_hidden_state)
        )

    return read


def raw(prepared: PreparedImage, model: PreTrainedModel, processor: Any) -> TokenMap:
    """Where those patches lie."""
    return padded(*_cut_grid(prepared.inputs, processor))


# --- tiles of a padded canvas, each with a class token, and empty tiles up to a fixed number of them


def cross_attended(model: Any) -> Callable[..., Any]:
    """Llama 3.2 Vision makes its image embeddings inside forward."""

    def read(pixel_values: torch.Tensor, aspect_ratio_ids: torch.Tensor, aspect_ratio_mask: torch.Tensor) -> Any:
        tokens = model.vision_model(pixel_values, aspect_ratio_ids, aspect_ratio_mask).last_hidden_state
        return BaseModelOutputWithPooling(pooler_output=model.multi_modal_projector(tokens))  # (1, 1, tiles, T, d)

    return read


def filled_tiles(prepared: PreparedImage, model: Any) -> torch.Tensor:
    """The tokens of tiles that hold some of the canvas; the language model does not attend to the others."""
    return torch.arange(int(prepared.inputs["aspect_ratio_mask"].sum()) * model.vision_model.num_patches)


def in_a_corner(prepared: PreparedImage, model: PreTrainedModel, processor: Any) -> TokenMap:
    """Where the tokens of Llama 3.2 Vision's tiles come from."""
    vision, rules = model.config.vision_config, sys.modules[type(processor).__module__]
    side, size, shapes = processor.size["height"], vision.image_size, vision.supported_aspect_ratios
    made = [list(shape) for shape in rules.get_all_supported_aspect_ratios(processor.max_image_tiles)]
    if (side, processor.max_image_tiles, made) != (size, vision.max_num_tiles, shapes):
        raise InvalidInput(
            f"The image processor makes up to {processor.max_image_tiles} tiles of {side} px, the vision tower reads "
            f"{vision.max_num_tiles} of {size} px, or other shapes of them."
        )
    rows, columns = shapes[int(prepared.inputs["aspect_ratio_ids"][0, 0]) - 1]
    height, width = rules.get_image_size_fit_to_canvas(*prepared.size[::-1], rows * size, columns * size, size)
    over = (0.0, 0.0, columns * size / width, rows * size / height)
    return tiled_canvas(rows, columns, size // vision.patch_size, over)


# --- crops of a padded canvas, then the canvas made small, a separator behind each row and between the two


def _on_canvas(inputs: Tensors, vision: PreTrainedConfig) -> torch.Tensor:
    """Which tokens of the canvas (rows, columns) hold some of the image."""
    side = vision.crop_size // vision.patch_size // 2
    rows, columns = (int(length) // vision.crop_size for length in inputs["image_sizes"][0])
    crops = inputs["image_attention_mask"][0, 1:, ::2, ::2].bool()  # (crops, side, side)
    return crops.reshape(rows, columns, side, side).transpose(1, 2).reshape(rows * side, columns * side)


def no_separators(inputs: Tensors, vision: PreTrainedConfig) -> torch.Tensor:
    """Which of what the projector reads is of the image: (length,)."""
    kept, side = _on_canvas(inputs, vision), vision.crop_size // vision.patch_size // 2
    parts = (int(kept[:, 0].sum()), int(kept[0].sum())), (side, side)
    crops, whole = (F.pad(torch.ones(part, dtype=torch.bool), (0, 1)).flatten() for part in parts)
    return torch.cat([crops, torch.zeros(1, dtype=torch.bool), whole])


def between_separators(prepared: PreparedImage, model: PreTrainedModel) -> torch.Tensor:
    """Which of what Phi-4's projector reads is of the image, by its place."""
    return no_separators(prepared.inputs, model.config.vision_config).nonzero().flatten()


def put_into_text(model: Any) -> Callable[..., Any]:
    """Phi-4 makes its image embeddings where it puts them into the text: here into one that is all image."""

    def read(image_pixel_values: torch.Tensor, image_sizes: torch.Tensor, image_attention_mask: torch.Tensor) -> Any:
        inputs = {"image_sizes": image_sizes, "image_attention_mask": image_attention_mask}
        vision, embed = model.config.vision_config, model.embed_tokens_extend.image_embed
        ids = torch.full((1, len(no_separators(inputs, vision))), vision.image_token_id, device=model.device)
        text = torch.zeros(*ids.shape, model.config.hidden_size, device=model.device, dtype=model.dtype)
        return BaseModelOutputWithPooling(pooler_output=embed(ids, text, image_pixel_values, **inputs))

    return read


def cropped(prepared: PreparedImage, model: PreTrainedModel, processor: Any) -> TokenMap:
    """Where the tokens of Phi-4's crops, and of the whole behind them, come from."""
    vision, crop = model.config.vision_config, processor.size["height"]
    if (crop, processor.patch_size) != (vision.crop_size, vision.patch_size) or crop % (2 * vision.patch_size):
        raise InvalidInput(
            f"The image processor cuts crops of {crop} px into patches of {processor.patch_size!r} px, the vision "
            f"tower reads {vision.crop_size} and {vision.patch_size}, an even number of patches a side."
        )
    kept, side = _on_canvas(prepared.inputs, vision), crop // vision.patch_size // 2
    rows, columns = kept.shape
    over = corner(prepared, rows, columns, 2 * vision.patch_size)
    crops = boxes(rows, columns, over)[kept.flatten().numpy()].clip(0, 1)
    whole = boxes(side, side, over).clip(0, 1)
    kinds = ("tile",) * len(crops) + tuple("thumbnail" if (box[:2] < box[2:]).all() else "padding" for box in whole)
    return TokenMap(np.concatenate([crops, whole]), kinds, (int(kept[:, 0].sum()), int(kept[0].sum())))
