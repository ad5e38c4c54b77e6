"""Image processors: the library's own, and those of families for which it has one for torchvision alone.

The torchvision of the package index does not load beside PyTorch without CUDA, so ProjLens does without it. What it
would make of an image is made here, of the same steps in PyTorch, bit for bit: the tests compare it with the library's
own code.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL.Image import Resampling
from torch.nn import functional as F
from transformers import AutoImageProcessor, BaseImageProcessor
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD, SizeDict
from transformers.models.gemma4.image_processing_pil_gemma4 import get_aspect_ratio_preserving_size
from transformers.models.molmo2.image_processing_molmo2 import Molmo2ImageProcessor as Librarys

from projlens_core.activations.pixels import Processor, Size, arrangements, cut, padded, resized, size_of
from projlens_core.activations.staging import IMAGES, StagedFolder
from projlens_core.runtime.required import required
from projlens_core.sources import Source

MAX_FACTOR = 1024  # px: the side of a merged patch, to a multiple of which an image is padded


def load_image_processor(source: Source, family: str) -> BaseImageProcessor:
    """The image processor of a checkpoint, which never runs torchvision, so that pixels depend on no installation.

    Raises what the library raises for files that it cannot read.
    """
    with StagedFolder(source.folder, source.label, IMAGES) as stage:
        return read_image_processor(stage.path, family)


def read_image_processor(folder: Path, family: str) -> BaseImageProcessor:
    """The same of a folder of ours."""
    if family in PROCESSORS:
        return PROCESSORS[family].from_pretrained(folder, local_files_only=True)
    return AutoImageProcessor.from_pretrained(folder, backend="pil", trust_remote_code=False, local_files_only=True)


# --- Command A Vision: tiles that the image is stretched over, and a thumbnail last


def get_optimal_tiled_canvas(image: Size, tile: Size, least: int, most: int) -> Size:
    """(columns, rows) of the canvas that enlarges the image least, or where all are too small shrinks it least."""
    grids = arrangements(most)
    scales = (np.array(grids) * tile[0] / np.array(image[::-1])).min(axis=-1)
    best = scales.argmax() if (scales < 1).all() else np.where(scales < 1, np.inf, scales).argmin()
    return grids[int(best)]


class Cohere2VisionImageProcessor(Processor):
    """Command A Vision's, under the library's name."""

    image_mean, image_std = OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
    size = SizeDict(height=512, width=512)
    crop_to_patches, min_patches, max_patches, patch_size = True, 1, 12, 16

    def _one(self, image: torch.Tensor, settings: dict[str, Any]) -> dict[str, Any]:
        tile, columns, rows = (settings["size"].height, settings["size"].width), 1, 1
        if settings["crop_to_patches"]:
            limits = settings["min_patches"], settings["max_patches"]
            columns, rows = get_optimal_tiled_canvas(size_of(image), tile, *limits)
        tiles = cut(resized(image, (rows * tile[0], columns * tile[1]), settings), rows, columns)
        if len(tiles) > 1:
            tiles = torch.cat([tiles, resized(image, tile, settings)[None]])
        return {"pixel_values": self._normalised(tiles, settings), "num_patches": len(tiles)}


# --- Llama 4: tiles over a padded canvas, and a thumbnail last


def llama4_canvas(image: Size, tile: int, most: int, largest: bool) -> tuple[Size, Size]:
    """(rows, columns) of tiles, and the (height, width) to which the image is scaled in their upper left corner.

    In single precision, as the library has it: rounding decides on a line of pixels.
    """
    height, width = image
    grids = torch.tensor([(high, wide) for high in range(1, most + 1) for wide in range(1, most // high + 1)])
    scales = torch.minimum(grids[:, 0] * tile / height, grids[:, 1] * tile / width)
    enough = scales[scales >= 1]
    best = scales.max() if not len(enough) else enough.max() if largest else enough.min()
    fitting = grids[scales == best]
    grid = fitting[fitting.prod(dim=1).argmin()]
    canvas = grid * tile
    target = canvas if largest else [min(max(side, tile), full) for side, full in zip(image, canvas, strict=True)]
    high, wide = target[0] / height, target[1] / width
    if wide < high:
        scaled = min(math.floor(height * wide), target[0]), target[1]
    else:
        scaled = target[0], min(math.floor(width * high), target[1])
    return (int(grid[0]), int(grid[1])), (max(int(scaled[0]), 1), max(int(scaled[1]), 1))


class Llama4ImageProcessor(Processor):
    """Llama 4's, under the library's name."""

    resample = Resampling.BILINEAR
    size = SizeDict(height=336, width=336)
    max_patches, resize_to_max_canvas = 16, False

    def _one(self, image: torch.Tensor, settings: dict[str, Any]) -> dict[str, Any]:
        tile = settings["size"].height
        if settings["size"].width != tile:
            raise ValueError("tiles must be square")
        grid, scaled = llama4_canvas(size_of(image), tile, settings["max_patches"], settings["resize_to_max_canvas"])
        canvas = padded(resized(image, scaled, settings), (grid[0] * tile, grid[1] * tile))
        tiles = cut(self._normalised(canvas, settings), *grid)
        if len(tiles) > 1:
            whole = self._normalised(resized(image, (tile, tile), settings), settings)
            tiles = torch.cat([tiles, whole[None]])
        return {"pixel_values": tiles, "aspect_ratios": torch.tensor(grid), "scaled": torch.tensor(scaled)}

    def _normalised(self, image: torch.Tensor, settings: dict[str, Any]) -> torch.Tensor:
        """In half precision, as the model was trained."""
        scaled = image.to(torch.bfloat16) * settings["rescale_factor"]
        mean, std = (torch.tensor(settings[name]).to(scaled).view(-1, 1, 1) for name in ("image_mean", "image_std"))
        return (scaled - mean) / std


# --- Kimi K2.5: patches of the image in its own shape, padded to whole tokens


def kimi_sizes(image: Size, patch: int, merge: int, most: int, side: int) -> tuple[Size, Size]:
    """The (height, width) to which an image is made smaller, if it must be, and that of it padded to whole tokens."""
    patches = math.prod(max(1.0, length // patch) for length in image)
    scale = min(1.0, math.sqrt(most / patches), *(side * patch / length for length in image))
    height, width = (min(max(1, int(length * scale)), side * patch) for length in image)
    factor = merge * patch
    return (height, width), (-(-height // factor) * factor, -(-width // factor) * factor)


class Kimi_K25ImageProcessor(Processor):  # noqa: N801
    """Kimi K2.5's, under the library's name. `size` counts patches."""

    size = SizeDict(max_height=512, max_width=512)
    max_patches, patch_size, merge_size = 16384, 14, 2

    def _one(self, image: torch.Tensor, settings: dict[str, Any]) -> dict[str, Any]:
        patch, merge, most = (settings[name] for name in ("patch_size", "merge_size", "max_patches"))
        if min(patch, merge, most) < 1 or patch * merge > MAX_FACTOR:
            raise ValueError(f"patches of {patch} px, of which {merge} a side are merged, up to {most} in all")
        scaled, whole = kimi_sizes(size_of(image), patch, merge, most, settings["size"].max_height)
        canvas = self._normalised(padded(resized(image, scaled, settings), whole), settings)
        rows, columns = (length // patch for length in whole)
        grid = torch.tensor([1, rows, columns])
        return {"pixel_values": cut(canvas, rows, columns), "image_grid_thw": grid, "scaled": torch.tensor(scaled)}


# --- Phi-4 multimodal: crops of a padded canvas, and the canvas made small first


def phi4_canvas(image: Size, crop: int, most: int) -> tuple[Size, Size]:
    """(rows, columns) of crops, and the (height, width) to which the image is scaled in their upper left corner."""
    height, width = image
    rows, columns = -(-height // crop), -(-width // crop)
    if rows * columns > most:
        best = math.inf
        for wide, high in arrangements(most):
            difference = abs(width / height - wide / high)
            if difference < best or (difference == best and width * height > 0.5 * crop**2 * wide * high):
                best, rows, columns = difference, high, wide
    wider, higher = columns * crop / width, rows * crop / height
    if wider < higher:
        return (rows, columns), (int(height * wider), columns * crop)
    return (rows, columns), (rows * crop, int(width * higher))


class Phi4MultimodalImageProcessor(Processor):
    """Phi-4 multimodal's, under the library's name."""

    size = SizeDict(height=448, width=448)
    patch_size, dynamic_hd = 14, 36
    joined = ()

    def _one(self, image: torch.Tensor, settings: dict[str, Any]) -> dict[str, Any]:
        crop, patch = settings["size"].height, settings["patch_size"]
        if settings["size"].width != crop:
            raise ValueError("crops must be square")
        grid, scaled = phi4_canvas(size_of(image), crop, settings["dynamic_hd"])
        if min(scaled) < 10:
            raise ValueError(f"an image of {image.shape[1]} × {image.shape[2]} px is too thin")
        canvas = [crop * count for count in grid]
        image = resized(image, scaled, settings | {"resample": Resampling.BILINEAR})
        image = F.pad(image, (0, canvas[1] - scaled[1], 0, canvas[0] - scaled[0]), value=255)
        image = self._normalised(image, settings)
        side = crop // patch
        rows, columns = (
            side * count - (full - own) // patch for count, full, own in zip(grid, canvas, scaled, strict=True)
        )
        seen = torch.zeros(1, *(side * count for count in grid))
        seen[:, :rows, :columns] = 1  # patches that are not all padding
        whole = resized(image, (crop, crop), settings, antialias=False)
        return {
            "image_pixel_values": torch.cat([whole[None], cut(image, *grid)]),
            "image_sizes": torch.tensor(canvas),
            "image_attention_mask": torch.cat([torch.ones(1, side, side), cut(seen, *grid)[:, 0]]),
            "scaled": torch.tensor(scaled),
        }


# --- Gemma 4 unified: patches of the image in its own shape, of which there is a given number at most


class Gemma4UnifiedImageProcessor(Processor):
    """Gemma 4 unified's, under the library's name."""

    do_normalize, steps = False, ("do_resize", "do_rescale")
    image_mean, image_std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    patch_size, max_soft_tokens, pooling_kernel_size = 16, 280, 3

    # The library names every setting one by one.
    def _validate_preprocess_kwargs(self, **settings: Any) -> None:  # type: ignore[override]
        super()._validate_preprocess_kwargs(**settings | {"do_resize": False})  # which would ask for a size

    def _one(self, image: torch.Tensor, settings: dict[str, Any]) -> dict[str, Any]:
        patch, kernel, most = (settings[name] for name in ("patch_size", "pooling_kernel_size", "max_soft_tokens"))
        target = get_aspect_ratio_preserving_size(*size_of(image), patch, most * kernel**2, kernel)
        image = resized(image, target, settings)
        scaled = self._normalised(image, settings) if settings["do_normalize"] else image * settings["rescale_factor"]
        rows, columns = (length // (patch * kernel) for length in target)
        patches = cut(scaled, rows, columns).movedim(1, -1).flatten(1)  # (patches, side · side · 3)
        places = torch.stack(torch.meshgrid(torch.arange(columns), torch.arange(rows), indexing="xy"), dim=-1)
        room = (0, 0, 0, most - len(patches))
        return {
            "pixel_values": F.pad(patches, room)[None],
            "image_position_ids": F.pad(places.reshape(-1, 2), room, value=-1),
            "num_soft_tokens_per_image": len(patches),
        }


# --- Molmo 2: the whole image, then overlapping crops, patches of which are pooled across their borders


class Molmo2ImageProcessor(Processor):
    """Molmo 2's, under the library's name and of its own steps, which are told here how to resize and normalise."""

    resample = Resampling.BILINEAR
    size = SizeDict(height=378, width=378)
    max_crops, overlap_margins, patch_size, pooling_size = 8, [4, 4], 14, [2, 2]
    joined = ("pixel_values", "image_token_pooling")
    _build_overlapping_crops = Librarys._build_overlapping_crops
    _made: Callable[..., Any] = Librarys._image_batch_to_patches_and_grids  # which asks for its own class

    def _one(self, image: torch.Tensor, settings: dict[str, Any]) -> dict[str, Any]:
        named = ("max_crops", "overlap_margins", "resample", "do_rescale", "rescale_factor", "do_normalize")
        given = {name: settings[name] for name in (*named, "image_mean", "image_std")}
        crop, patch, margins = settings["size"].height, settings["patch_size"], settings["overlap_margins"]
        if list(settings["pooling_size"]) != [2, 2] or patch < 1 or min(margins) < 0 or sum(margins) * patch >= crop:
            raise ValueError("windows of 2 × 2 patches, and margins that leave something of a crop, are expected")
        sizes = {"crop_size": crop, "image_patch_size": patch, "image_pooling_h": 2, "image_pooling_w": 2}
        grid, patches, pooling = self._made(image[None], **given, **sizes)
        names = ("image_grids", "pixel_values", "image_token_pooling", "image_num_crops")
        return dict(zip(names, (grid[0], patches[0], pooling[0], patches.shape[1]), strict=True))

    # Called by the library's own steps, which are those for torchvision, not by the class that it is here.
    def resize(  # type: ignore[override]
        self, image: torch.Tensor, size: SizeDict, resample: Resampling, antialias: bool
    ) -> torch.Tensor:
        """As torchvision does."""
        mode = {Resampling.BILINEAR: "bilinear", Resampling.BICUBIC: "bicubic"}[resample]
        height, width = required(size.height, "a height"), required(size.width, "a width")
        return F.interpolate(image, (height, width), mode=mode, antialias=antialias)

    def rescale_and_normalize(
        self, image: torch.Tensor, rescale: bool, factor: float, normalize: bool, mean: Any, std: Any
    ) -> torch.Tensor:
        """As torchvision does."""
        return self._normalised(image, {"rescale_factor": factor, "image_mean": mean, "image_std": std})


PROCESSORS: dict[str, type[Processor]] = {
    "cohere2_vision": Cohere2VisionImageProcessor,
    "llama4": Llama4ImageProcessor,
    "kimi_k25": Kimi_K25ImageProcessor,
    "phi4_multimodal": Phi4MultimodalImageProcessor,
    "gemma4_unified": Gemma4UnifiedImageProcessor,
    "molmo": Molmo2ImageProcessor,
}
