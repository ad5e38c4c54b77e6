"""What every vision tower gives, however its family makes tokens of images."""

from collections.abc import Sequence
from typing import Protocol

import torch
from PIL import Image

from projlens_core.activations.layout import TokenMap


class VisionTower(Protocol):
    """A vision tower with its preprocessing: images → the tokens that a projector's first layer reads.

    key identifies all that decides the tokens, for use in caches; d_vision is the width of one token; label is what
    its model is called.
    """

    label: str
    device: torch.device
    d_vision: int
    key: str

    @property
    def grid(self) -> tuple[int, int] | None:
        """(rows, columns) of the tokens of every image; None where they depend on the image."""

    @property
    def tokens(self) -> int | None:
        """How many tokens every image has; None where that depends on the image."""

    def layout(self, size: tuple[int, int]) -> TokenMap:
        """Where the tokens of an image of `size` (width, height, px) come from."""

    def encode(self, images: Sequence[Image.Image]) -> Sequence[torch.Tensor] | torch.Tensor:
        """Tokens of each image, float32 on the CPU: (tokens, d_vision). Uncached.

        Raises InvalidInput for an image more than a hundred times as long as wide.
        """
