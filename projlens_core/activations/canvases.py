"""Families whose pictures lie in the corner of a padded canvas, or whose projector reads more than pictures: what makes
their image embeddings, which of those are of the image, and where they come from.
"""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from projlens_core.activations.layout import Box, TokenMap, tiled_canvas
from projlens_core.errors import InvalidInput

if TYPE_CHECKING:
    from projlens_core.activations.plans import Picture


def corner(picture: "Picture", rows: int, columns: int, side: int) -> Box:
    """What rows × columns squares of `side` px cover of the image that lies in their upper left corner."""
    height, width = picture.inputs["scaled"][0].tolist()
    return 0, 0, columns * side / width, rows * side / height


def last_states(model: PreTrainedModel) -> Callable[..., Any]:
    """Llama 4 projects its last states where it puts them into the text."""

    def read(pixel_values: torch.Tensor) -> Any:
        states = model.get_image_features(pixel_values).last_hidden_state
        return BaseModelOutputWithPooling(pooler_output=model.multi_modal_projector(states))

    return read


# --- tiles of a padded canvas, each with a class token, and empty tiles up to a fixed number of them


def cross_attended(model: PreTrainedModel) -> Callable[..., Any]:
    """Llama 3.2 Vision makes its image embeddings inside forward."""

    def read(pixel_values: torch.Tensor, aspect_ratio_ids: torch.Tensor, aspect_ratio_mask: torch.Tensor) -> Any:
        tokens = model.vision_model(pixel_values, aspect_ratio_ids, aspect_ratio_mask).last_hidden_state
        return BaseModelOutputWithPooling(pooler_output=model.multi_modal_projector(tokens))  # (1, 1, tiles, T, d)

    return read


def filled_tiles(picture: "Picture", model: PreTrainedModel) -> torch.Tensor:
    """The tokens of tiles that hold some of the canvas; the language model does not attend to the others."""
    return torch.arange(int(picture.inputs["aspect_ratio_mask"].sum()) * model.vision_model.num_patches)


def in_a_corner(picture: "Picture", model: PreTrainedModel, processor: Any) -> TokenMap:
    """Where the tokens of Llama 3.2 Vision's tiles come from."""
    vision, rules = model.config.vision_config, sys.modules[type(processor).__module__]
    side, size, shapes = processor.size["height"], vision.image_size, vision.supported_aspect_ratios
    made = [list(shape) for shape in rules.get_all_supported_aspect_ratios(processor.max_image_tiles)]
    if (side, processor.max_image_tiles, made) != (size, vision.max_num_tiles, shapes):
        raise InvalidInput(
            f"The image processor makes up to {processor.max_image_tiles} tiles of {side} px, the vision tower reads "
            f"{vision.max_num_tiles} of {size} px, or other shapes of them."
        )
    rows, columns = shapes[int(picture.inputs["aspect_ratio_ids"][0, 0]) - 1]
    height, width = rules.get_image_size_fit_to_canvas(*picture.size[::-1], rows * size, columns * size, size)
    over = (0.0, 0.0, columns * size / width, rows * size / height)
    return tiled_canvas(rows, columns, size // vision.patch_size, over)
