"""From an image to the pixels of a vision tower, as transformers' processors for torchvision make them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL.Image import Resampling
from torch.nn import functional as F
from transformers import BatchFeature
from transformers.image_processing_backends import PilBackend
from transformers.processing_utils import ImagesKwargs

Size = tuple[int, int]  # height, width: as transformers has them
HALF = (0.5, 0.5, 0.5)


class PixelSettings(ImagesKwargs, total=False):
    """What these processors may be told besides what all are."""

    crop_to_patches: bool
    min_patches: int
    max_patches: int
    resize_to_max_canvas: bool
    patch_size: int
    merge_size: int
    max_crops: int
    overlap_margins: list[int]
    pooling_size: list[int]
    dynamic_hd: int
    max_soft_tokens: int
    pooling_kernel_size: int


class Processor(PilBackend):
    """Resizes, rescales and normalises as transformers' processors for torchvision do.

    Where an image is scaled and then padded, `scaled` says to which (height, width).
    """

    valid_kwargs = PixelSettings
    do_resize = do_rescale = do_normalize = do_convert_rgb = True
    steps: tuple[str, ...] = ("do_resize", "do_rescale", "do_normalize")  # that cannot be left out
    joined: tuple[str, ...] = ("pixel_values",)  # one after the other
    resample = Resampling.BICUBIC
    image_mean: Sequence[float] = HALF
    image_std: Sequence[float] = HALF

    # The library names every setting one by one.
    def _preprocess(  # type: ignore[override]
        self, images: list[np.ndarray], return_tensors: str | None, **settings: Any
    ) -> BatchFeature:
        if not all(settings[step] for step in self.steps):
            raise ValueError(f"its config turns one of {', '.join(self.steps)} off")
        made = [self._one(torch.from_numpy(np.ascontiguousarray(image)), settings) for image in images]
        data: dict[str, Any] = {name: [each[name] for each in made] for name in made[0]}
        data |= {name: torch.cat(data[name]) for name in self.joined}
        return BatchFeature(data, tensor_type=return_tensors)

    def _one(self, image: torch.Tensor, settings: dict[str, Any]) -> dict[str, Any]:
        """What the model reads of one image (3, height, width) of bytes."""
        raise NotImplementedError

    def _normalised(self, image: torch.Tensor, settings: dict[str, Any]) -> torch.Tensor:
        factor = 1.0 / settings["rescale_factor"]
        mean, std = (torch.tensor(settings[name]).view(-1, 1, 1) * factor for name in ("image_mean", "image_std"))
        return (image.float() - mean) / std


def size_of(image: torch.Tensor) -> Size:
    """Of an image (3, height, width)."""
    height, width = image.shape[1:]
    return height, width


def resized(image: torch.Tensor, size: Size, settings: dict[str, Any], antialias: bool = True) -> torch.Tensor:
    """As torchvision resizes; an image of that size as it is."""
    if tuple(image.shape[-2:]) == size:
        return image
    mode = {Resampling.BILINEAR: "bilinear", Resampling.BICUBIC: "bicubic"}.get(settings["resample"])
    if mode is None:
        raise ValueError(f"resample {settings['resample']!r}, expected 2 (bilinear) or 3 (bicubic)")
    return F.interpolate(image[None], size=size, mode=mode, antialias=antialias)[0]


def padded(image: torch.Tensor, size: Size) -> torch.Tensor:
    """Black to the right and below."""
    return F.pad(image, (0, size[1] - image.shape[2], 0, size[0] - image.shape[1]))


def cut(image: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """(rows · columns, 3, height, width): the tiles of an image, row by row."""
    tiles = image.unflatten(2, (columns, -1)).unflatten(1, (rows, -1))  # (3, rows, height, columns, width)
    return tiles.permute(1, 3, 0, 2, 4).flatten(0, 1).contiguous()


def arrangements(most: int) -> list[tuple[int, int]]:
    """All (columns, rows) of up to `most` tiles, few tiles first."""
    grids = [(wide, high) for wide in range(1, most + 1) for high in range(1, most // wide + 1)]
    return sorted(grids, key=math.prod)
