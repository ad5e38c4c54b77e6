"""The vision tower of a model, alone: what every projector of a case reads. The language model is never touched."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import nn

from projlens_core.activations.around import around
from projlens_core.activations.layout import WHOLE, TokenMap, centre_crop, one_grid
from projlens_core.activations.vision import PROBE_SIZE, VisionTower, check_aspect
from projlens_core.errors import InvalidInput, as_invalid_input
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.device import compute_dtype, pick_device
from projlens_core.sources import Source, resolve

# transformers takes seconds to import, which a page or command that names a tower but loads none need not wait for;
# so it, and what brings it (config, tower), is imported where a tower is loaded.
if TYPE_CHECKING:
    from transformers import BaseImageProcessor, LlavaConfig


class VisionModel:
    """A vision tower with its preprocessing: images → the tokens a projector reads (vision_feature_layer, no CLS).

    key identifies all that decides the tokens (weights, preprocessing, layers, precision), for use in caches.
    grid is (rows, columns) of patches, in which the tokens are ordered row by row; image_size is in px.
    """

    def __init__(
        self, tower: nn.Module, processor: "BaseImageProcessor", config: "LlavaConfig", label: str, device: torch.device
    ):
        from projlens_core.activations.config import LEADING_TOKENS, feature_layers, vision_config

        self.tower, self.processor, self.label, self.device = tower, processor, label, device
        vision = vision_config(config)
        self.image_size: int = vision.image_size
        side: int = self.image_size // vision.patch_size
        self.grid = (side, side)
        self.d_vision: int = vision.hidden_size * len(feature_layers(config))
        self._layers = feature_layers(config)
        self._leading = LEADING_TOKENS[vision.model_type]
        self._dtype = next(tower.parameters()).dtype
        self._check_preprocessing()
        self.key = self._key()

    @property
    def tokens(self) -> int:
        """How many tokens an image has."""
        return self.grid[0] * self.grid[1]

    def layout(self, size: tuple[int, int]) -> TokenMap:
        """Where the tokens of an image of `size` (width, height, px) come from."""
        return one_grid(*self.grid, centre_crop(size) if getattr(self.processor, "do_center_crop", False) else WHOLE)

    def encode(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """Tokens of the images, float32 on the CPU: (n, tokens, d_vision). One pass of the tower, uncached.

        Raises InvalidInput for an image more than a hundred times as long as wide.
        """
        with torch.no_grad():
            return self.read(self.pixels(images)).cpu()

    def read(self, pixels: torch.Tensor) -> torch.Tensor:
        """Tokens (n, tokens, d_vision), float32 on the tower's device, of pixels (n, 3, size, size) as the image
        processor makes them; gradients reach the pixels.
        """
        states = self.tower(
            pixels.to(self.device, self._dtype), output_hidden_states=self._layers, return_dict=True
        ).hidden_states
        return torch.cat([states[layer][:, self._leading :] for layer in self._layers], dim=-1).float()

    def pixels(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """What the tower is given of the images: (n, 3, size, size); InvalidInput as `encode`."""
        for image in images:
            check_aspect(image)
        return self.processor(images=[image.convert("RGB") for image in images], return_tensors="pt")["pixel_values"]

    def _check_preprocessing(self) -> None:
        """InvalidInput unless an image of another shape comes out at the size the tower reads."""
        wanted = (1, 3, self.image_size, self.image_size)
        check_sizes(self.processor, self.image_size, self.label)
        with as_invalid_input(f"The image processor of {self.label} fails on an ordinary image"):
            found = tuple(self.pixels([Image.new("RGB", PROBE_SIZE)]).shape)
        if found != wanted:
            raise InvalidInput(
                f"The image processor of {self.label} makes pixels of shape {found}, but its tower reads {wanted}."
            )

    def _key(self) -> str:
        settings = json.dumps(self.processor.to_dict(), sort_keys=True, default=str)
        parts: list[object] = [type(self.processor).__name__, settings, self._layers, self._leading, str(self._dtype)]
        for name, tensor in sorted(self.tower.state_dict().items()):
            parts += [name, tuple(tensor.shape), tensor.cpu().contiguous().view(torch.uint8).numpy().data]
        return content_key(*parts)


def check_sizes(processor: "BaseImageProcessor", image_size: int, label: str) -> None:
    """InvalidInput for preprocessing that scales an image to much more than the tower reads."""
    for name in ("size", "crop_size"):
        sizes = getattr(processor, name, None) or {}
        if any(not isinstance(s, int) or not 0 < s <= 4 * image_size for s in dict(sizes).values() if s):
            raise InvalidInput(
                f"The image processor of {label} has {name} {dict(sizes)}, but its tower reads {image_size} px."
            )


def load_vision(
    source: Source | str,
    device: torch.device | str | None = None,
    base: Source | None = None,
    images: Source | None = None,
) -> VisionTower:
    """Load the vision side of a model, reading nothing of its language model, in the device's precision.

    base: the whole model that `source` is an adapter on. images: whose image processor prepares images, if not its own.
    `source` may be a checkpoint folder (released or current key layout), a file in one, zoo:NAME or hub:OWNER/NAME, of
    which the tower's bytes are fetched. Raises InvalidInput or Unsupported, in one sentence, for everything that cannot
    be run as it stands.
    """
    from transformers import LlavaConfig

    from projlens_core.activations.config import open_family
    from projlens_core.activations.tower import load_tower

    source = around(source if isinstance(source, Source) else resolve(source))
    base = None if base is None else around(base)
    checkpoint, config, family = open_family(source, base)
    prepares = around(images) if images is not None else base or source
    device = pick_device(str(device) if device else None)
    if isinstance(config, LlavaConfig):
        processor = _image_processor(prepares, family.name)
        tower = load_tower(checkpoint, config, compute_dtype(device)).to(device)
        return VisionModel(tower, processor, config, source.label, device)
    from projlens_core.activations.encoder import FamilyVision, check_runs, load_without_text  # others need not wait

    check_runs(family, source.label)
    processor = _image_processor(prepares, family.name)
    model = load_without_text(checkpoint, config, family, compute_dtype(device))
    model.to(device)  # type: ignore[arg-type]  # the library's decorator loses the signature
    return FamilyVision(model, processor, family, source.label, device)


def _image_processor(source: Source, family: str) -> "BaseImageProcessor":
    from projlens_core.activations.image_processors import load_image_processor

    with as_invalid_input(f"The image processor of {source.label} cannot be loaded"):
        return load_image_processor(source, family)
