"""Families that cut an image into tiles: where the tokens of tiles, and of the whole image beside them, come from."""

import sys
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel
from transformers.image_processing_utils import get_patch_output_size, select_best_resolution
from transformers.models.llava_next.modeling_llava_next import unpad_image
from transformers.models.molmo2.image_processing_molmo2 import compute_crop_geometry

from projlens_core.activations.canvases import corner
from projlens_core.activations.layout import TokenMap, boxes, centred, one_grid, tiles, tiles_with_padding
from projlens_core.activations.vision import PreparedImage
from projlens_core.errors import InvalidInput

# --- tiles that fill the image, and a thumbnail last


def tiled(prepared: PreparedImage, model: PreTrainedModel, processor: Any) -> TokenMap:
    """InternVL, Aya Vision and Command A: tiles that the image is stretched over, and a thumbnail of several."""
    config = model.config
    size = config.vision_config.image_size
    size, patch = (x[0] if isinstance(x, (list, tuple)) else x for x in (size, config.vision_config.patch_size))
    factor = config.downsample_factor if hasattr(config, "downsample_factor") else round(1 / config.downsample_ratio)
    _check_tile(processor, size)
    canvas = sys.modules[type(processor).__module__].get_optimal_tiled_canvas  # each processor has its own rule
    columns, rows = canvas(
        prepared.size[::-1],
        (processor.size["height"], processor.size["width"]),
        processor.min_patches,
        processor.max_patches,
    )
    return tiles(rows, columns, size // patch // factor, thumbnail=rows * columns > 1)


def _check_tile(processor: Any, side: int) -> None:
    if (processor.size["height"], processor.size["width"]) != (side, side):
        raise InvalidInput(
            f"The image processor makes tiles of {dict(processor.size)}, the vision tower reads {side} px."
        )


def tiled_thumbnail_first(prepared: PreparedImage, model: PreTrainedModel, processor: Any) -> TokenMap:
    """Ovis2: the thumbnail is first."""
    vision = model.config.vision_config
    side = -(-vision.image_size // vision.patch_size // vision.hidden_stride)
    over = side * vision.hidden_stride * vision.patch_size / vision.image_size  # patches are padded to whole tokens
    rows, columns = prepared.inputs["grids"][0].tolist()
    return tiles(rows, columns, side, rows * columns > 1, first=True, within=(0, 0, over, over))


def tiled_padded(prepared: PreparedImage, model: PreTrainedModel, processor: Any) -> TokenMap:
    """Llama 4: the image in the upper left corner of the tiles, the thumbnail last."""
    vision, (rows, columns) = model.config.vision_config, prepared.inputs["aspect_ratios"][0].tolist()
    _check_tile(processor, vision.image_size)
    side = round(vision.image_size // vision.patch_size * vision.pixel_shuffle_ratio)
    over = corner(prepared, rows, columns, vision.image_size)
    return tiles_with_padding(rows, columns, side, over)


def split(prepared: PreparedImage, model: PreTrainedModel, processor: Any) -> TokenMap:
    """Idefics3 and SmolVLM: rows and columns of tiles as the processor says, the thumbnail last."""
    config = model.config
    rows, columns = (int(prepared.inputs[name][0][0]) for name in ("rows", "cols"))
    side = config.vision_config.image_size // config.vision_config.patch_size // config.scale_factor
    return tiles(rows, columns, side, thumbnail=True) if rows else one_grid(side, side)


def sliced(prepared: PreparedImage, model: PreTrainedModel, processor: Any) -> TokenMap:
    """The whole image first, then its slices row by row, all of the image's own shape."""
    config = model.config
    ours = config.vision_config.patch_size, config.downsample_mode, config.merger_times
    theirs = processor.patch_size, processor.downsample_mode, 1
    if ours != theirs:
        raise InvalidInput(
            f"The image processor cuts patches of {theirs[0]!r} px for {theirs[1]!r} and one merger; the config says "
            f"{ours[0]!r} px, {ours[1]!r} and {ours[2]!r}."
        )
    merge = 2 if config.downsample_mode == "4x" else 4
    first, *slices = (prepared.inputs["target_sizes"] // merge).tolist()
    thumbnail = boxes(*first)
    if not slices:
        return one_grid(*first)
    places = boxes(*prepared.inputs["grids"][0])
    cut = [boxes(rows, columns, within) for (rows, columns), within in zip(slices, places.tolist(), strict=True)]
    kinds = ("thumbnail",) * len(thumbnail) + ("tile",) * sum(map(len, cut))
    return TokenMap(np.concatenate([thumbnail, *cut]), kinds, None)


def in_windows(prepared: PreparedImage, model: PreTrainedModel, processor: Any) -> TokenMap:
    """The whole image first, then all of its crops as one fine grid, windows of 2 × 2 patches over the border of each
    canvas, too."""
    side, patch = processor.size["height"], processor.patch_size
    geometry = processor.max_crops, processor.overlap_margins, side, patch
    canvases = (side, side), compute_crop_geometry(*prepared.size[::-1], *geometry)[2:]  # (height, width) px
    grids = prepared.inputs["image_grids"].reshape(2, 2).tolist()  # (rows, columns)
    cut = [
        boxes(rows, columns, centred((wide // patch, high // patch), (2 * columns, 2 * rows))).clip(0, 1)
        for (rows, columns), (high, wide) in zip(grids, canvases, strict=True)
    ]
    kinds = ("thumbnail",) * len(cut[0]) + ("tile",) * len(cut[1])
    return TokenMap(np.concatenate(cut), kinds, None)


# --- the whole image first, then tiles over a padded canvas of which the padding is dropped again


def _kept(prepared: PreparedImage, model: PreTrainedModel) -> tuple[torch.Tensor, TokenMap]:
    """Of the tokens of the thumbnail and the tiles, which reach the language model, in its order, and from where."""
    width, height = prepared.size
    vision = model.config.vision_config
    side = vision.image_size // vision.patch_size
    canvas = select_best_resolution((height, width), model.config.image_grid_pinpoints)  # (height, width) px
    rows, columns = (length // vision.image_size for length in canvas)
    index = torch.arange(rows * columns * side * side).reshape(rows, columns, side, side)
    index = index.transpose(1, 2).reshape(1, rows * side, columns * side)  # as the tiles lie beside each other
    inside = unpad_image(index, (height, width)).flatten()
    blank = torch.empty(3, height, width, device="meta")
    scaled_height, scaled_width = get_patch_output_size(blank, canvas, input_data_format="channels_first")
    over = centred((scaled_width, scaled_height), canvas[::-1])
    place = torch.empty(index.numel(), dtype=torch.long)
    place[index.flatten()] = torch.arange(index.numel())
    cut = boxes(rows * side, columns * side, over)[place[inside]].clip(0, 1)
    kept = torch.cat([torch.arange(side * side), side * side + inside])
    kinds = ("thumbnail",) * (side * side) + ("tile",) * len(inside)
    return kept, TokenMap(np.concatenate([boxes(side, side), cut]), kinds, None)


def without_padding(seen: torch.Tensor, prepared: PreparedImage, model: PreTrainedModel) -> torch.Tensor:
    """What LLaVA-NeXT and LLaVA-OneVision keep of the tokens that their projector reads, in the order of the text."""
    return seen.reshape(-1, seen.shape[-1])[_kept(prepared, model)[0]]


def anyres(prepared: PreparedImage, model: PreTrainedModel, processor: Any) -> TokenMap:
    """Where those come from."""
    return _kept(prepared, model)[1]
