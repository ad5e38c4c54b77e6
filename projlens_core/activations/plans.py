"""How each family lays an image out in tokens: in which order its projector reads them, and what pixels each is of.

A plan is what families.json cannot say: the order in which tokens reach the projector, and the pixels each was cut
from. The tests compare every plan with the genuine model, on an image with one marked patch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import BatchFeature, PreTrainedConfig, PreTrainedModel
from transformers.vision_utils import get_vision_window_index

from projlens_core.activations.canvases import (
    between_separators,
    corner,
    cropped,
    cross_attended,
    cut,
    filled_tiles,
    in_a_corner,
    last_states,
    put_into_text,
    raw,
)
from projlens_core.activations.layout import (
    WHOLE,
    TokenMap,
    boxes,
    centre_crop,
    centred,
    one_grid,
    padded,
    queries,
)
from projlens_core.activations.tilings import (
    anyres,
    in_windows,
    sliced,
    split,
    tiled,
    tiled_padded,
    tiled_thumbnail_first,
    without_padding,
)
from projlens_core.activations.vision import PreparedImage
from projlens_core.errors import InvalidInput


@dataclass(frozen=True)
class FamilyPlan:
    """arrange puts what the projector's first layer was seen to read, (…, d), into the order in which its output lies,
    with the tokens that are merged into one beside each other: (T_in, d). lay_out says where the output comes from.
    options are what the family's processor gives its image processor, by the config; pixels says that `size` of the
    latter counts pixels instead of lengths. reads is the function of the model that makes an image's embeddings, the
    pooler_output of its result; None if it has none. own says which of what the projector reads and puts out is of the
    image, by its place, where not all of it is: not separators, nor tiles that the image leaves empty. finish is what
    the family's processor does with what its image processor made. question is the input by which a projector that
    reads the question, too, is told it.
    """

    arrange: Callable[[torch.Tensor, PreparedImage, PreTrainedModel], torch.Tensor]
    lay_out: Callable[[PreparedImage, PreTrainedModel, Any], TokenMap]
    options: Callable[[PreTrainedConfig], dict[str, Any]] = lambda config: {}
    pixels: bool = False
    reads: Callable[[PreTrainedModel], Callable[..., Any] | None] = lambda model: getattr(
        model, "get_image_features", None
    )
    own: Callable[[PreparedImage, PreTrainedModel], torch.Tensor] | None = None
    finish: Callable[[BatchFeature, Any], BatchFeature] = lambda inputs, processor: inputs
    question: str | None = None


def _as_read(seen: torch.Tensor, prepared: PreparedImage, model: PreTrainedModel) -> torch.Tensor:
    return seen.reshape(-1, seen.shape[-1])


# --- one square grid


def _square(prepared: PreparedImage, model: PreTrainedModel, processor: Any) -> TokenMap:
    vision = model.config.vision_config
    side = vision.image_size // vision.patch_size
    cropped = getattr(processor, "do_center_crop", False)
    return one_grid(side, side, centre_crop(prepared.size) if cropped else WHOLE)


def _in_a_square(prepared: PreparedImage, model: PreTrainedModel, processor: Any) -> TokenMap:
    """The longer side fills the tower's square, and the shorter one is padded."""
    vision = model.config.vision_config
    square = (getattr(processor, "high_res_size", None) or processor.size)["height"]
    side = vision.image_size // vision.patch_size
    scale = square / max(prepared.size)
    scaled = tuple(max(round(length * scale), processor.min_size) for length in prepared.size)
    return padded(side, side, centred(scaled, (square, square)))


def _pooled(prepared: PreparedImage, model: PreTrainedModel, processor: Any) -> TokenMap:
    side = int(model.config.mm_tokens_per_image**0.5)
    return one_grid(side, side)


# --- one grid of the image's own shape, m × m patches merged into a token


def _merged(prepared: PreparedImage, model: PreTrainedModel, processor: Any) -> TokenMap:
    _, rows, columns = prepared.inputs["image_grid_thw"][0].tolist()
    merge = model.config.vision_config.spatial_merge_size
    return one_grid(rows // merge, columns // merge)


def _pooled_by_position(prepared: PreparedImage, model: PreTrainedModel, processor: Any) -> TokenMap:
    kernel = model.config.vision_config.pooling_kernel_size
    if processor.pooling_kernel_size != kernel:
        raise InvalidInput(
            f"The image processor pools {processor.pooling_kernel_size!r} patches a side, the vision tower {kernel}."
        )
    columns, rows = (prepared.inputs["image_position_ids"][0].amax(dim=0) + 1).tolist()  # padding has −1
    return one_grid(rows // kernel, columns // kernel)


def _without_room(seen: torch.Tensor, prepared: PreparedImage, model: PreTrainedModel) -> torch.Tensor:
    """Gemma 4 unified reads as many patches of every image, of which those without a place are none."""
    return seen[(prepared.inputs["image_position_ids"] >= 0).all(dim=-1)]


def _by_position(prepared: PreparedImage, model: PreTrainedModel, processor: Any) -> TokenMap:
    columns, rows = (prepared.inputs["image_position_ids"][0].amax(dim=0) + 1).tolist()
    return one_grid(rows, columns)


def _out_of_windows(seen: torch.Tensor, prepared: PreparedImage, model: Any) -> torch.Tensor:
    """Qwen2.5-VL's tower keeps merged units in the order of its attention windows."""
    tower = model.visual
    order, _ = get_vision_window_index(
        prepared.inputs["image_grid_thw"],
        spatial_merge_size=tower.spatial_merge_size,
        window_size=tower.window_size,
        patch_size=tower.patch_size,
    )
    units = seen.reshape(len(order), -1, seen.shape[-1])  # (units, m², d)
    return units[torch.argsort(torch.as_tensor(order))].reshape(-1, seen.shape[-1])


def _patch_grid(prepared: PreparedImage, model: PreTrainedModel) -> tuple[int, int]:
    height, width = (int(side) for side in prepared.inputs["image_sizes"][0])
    patch = model.config.vision_config.patch_size
    return height // patch, width // patch


def _into_blocks(seen: torch.Tensor, prepared: PreparedImage, model: PreTrainedModel) -> torch.Tensor:
    """Mistral 3 merges after its first norm: patches row by row → the m × m patches of each token together."""
    merge, d = model.config.spatial_merge_size, seen.shape[-1]
    rows, columns = (side // merge for side in _patch_grid(prepared, model))
    grid = seen.reshape(rows * merge, columns * merge, d)
    return grid.reshape(rows, merge, columns, merge, d).transpose(1, 2).reshape(-1, d)


def _merged_pixtral(prepared: PreparedImage, model: PreTrainedModel, processor: Any) -> TokenMap:
    merge = model.config.spatial_merge_size
    return one_grid(*(side // merge for side in _patch_grid(prepared, model)))


def _merged_padded(prepared: PreparedImage, model: PreTrainedModel, processor: Any) -> TokenMap:
    """The image in the upper left corner of its grid, which ends with the tokens that hold its edges."""
    merge, patch = model.config.vision_config.merge_kernel_size, model.config.vision_config.patch_size
    if list(merge) != [processor.merge_size] * 2 or patch != processor.patch_size:
        raise InvalidInput(
            f"The image processor merges {processor.merge_size!r} patches of {processor.patch_size!r} px a side, the "
            f"vision tower {merge} of {patch}."
        )
    rows, columns = (length // processor.merge_size for length in prepared.inputs["image_grid_thw"][0, 1:].tolist())
    over = corner(prepared, rows, columns, processor.merge_size * patch)
    return TokenMap(boxes(rows, columns, over).clip(0, 1), ("patch",) * (rows * columns), (rows, columns))


# --- learned queries, each of which reads all of the image


def _queries(prepared: PreparedImage, model: PreTrainedModel, processor: Any) -> TokenMap:
    return queries(model.config.num_query_tokens)


def _latents(prepared: PreparedImage, model: PreTrainedModel, processor: Any) -> TokenMap:
    return queries(model.config.perceiver_config.resampler_n_latents)


def _always(**options: bool) -> Callable[[PreTrainedConfig], dict[str, Any]]:
    return lambda config: options


def _merged_patch(config: PreTrainedConfig) -> dict[str, Any]:
    return {"patch_size": config.vision_config.patch_size * config.spatial_merge_size}


_CROPS, _ROWS_AND_COLUMNS = _always(crop_to_patches=True), _always(return_row_col_info=True)
_IN_ONE_PIECE = _always(do_image_splitting=False)  # Idefics2 may be given an image in four parts of other sizes besides
PLANS: dict[str, FamilyPlan] = {
    "vipllava": FamilyPlan(_as_read, _square),
    "paligemma": FamilyPlan(_as_read, _square),
    "gemma3": FamilyPlan(_as_read, _pooled, _always(do_pan_and_scan=False)),
    "deepseek_vl": FamilyPlan(_as_read, _in_a_square),
    "deepseek_vl_hybrid": FamilyPlan(_as_read, _in_a_square),
    "janus": FamilyPlan(_as_read, _in_a_square),
    "qwen2_vl": FamilyPlan(_as_read, _merged, pixels=True),
    "qwen2_5_vl": FamilyPlan(_out_of_windows, _merged, pixels=True),
    "qwen3_vl": FamilyPlan(_as_read, _merged, pixels=True),
    "glm4v": FamilyPlan(_as_read, _merged, pixels=True),
    "gemma4": FamilyPlan(_as_read, _pooled_by_position),
    "gemma4_unified": FamilyPlan(_without_room, _by_position),
    "kimi_k25": FamilyPlan(_as_read, _merged_padded),
    "mistral3": FamilyPlan(_into_blocks, _merged_pixtral, _merged_patch),
    "internvl": FamilyPlan(_as_read, tiled, _CROPS),
    "aya_vision": FamilyPlan(_as_read, tiled, _CROPS),
    "cohere2_vision": FamilyPlan(_as_read, tiled, _CROPS),
    "llama4": FamilyPlan(_as_read, tiled_padded, reads=last_states),
    "ovis2": FamilyPlan(_as_read, tiled_thumbnail_first),
    "minicpmv4_6": FamilyPlan(_as_read, sliced),
    "molmo": FamilyPlan(_as_read, in_windows),
    "blip2": FamilyPlan(_as_read, _queries),
    "instructblip": FamilyPlan(_as_read, _queries, question="qformer_input_ids"),
    "idefics2": FamilyPlan(_as_read, _latents, _IN_ONE_PIECE),
    "idefics3": FamilyPlan(_as_read, split, _ROWS_AND_COLUMNS),
    "smolvlm": FamilyPlan(_as_read, split, _ROWS_AND_COLUMNS),
    "llava_next": FamilyPlan(without_padding, anyres),
    "llava_onevision": FamilyPlan(without_padding, anyres),
    "mllama": FamilyPlan(_as_read, in_a_corner, reads=cross_attended, own=filled_tiles),
    "phi4_multimodal": FamilyPlan(_as_read, cropped, reads=put_into_text, own=between_separators),
    "fuyu": FamilyPlan(_as_read, raw, reads=last_states, finish=cut),
}
# Families whose projector could be run, and why their activations are not taken all the same.
NO_PLAN = {
    "gemma3n": "its vision tower comes from timm, which needs torchvision, and the package index has that for "
    "x86-64 Linux with CUDA alone",
    "qwen2_5_omni": "it hears and speaks, too, and ProjLens does not take it apart",
}
