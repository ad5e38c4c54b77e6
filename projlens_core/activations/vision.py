"""What every vision tower gives, however its family makes tokens of images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from PIL import Image

from projlens_core.activations.layout import TokenMap
from projlens_core.errors import InvalidInput

if TYPE_CHECKING:
    from transformers import BatchFeature  # takes seconds

PROBE_SIZE = (640, 426)  # px, not square: preprocessing must turn any image into one size
MAX_ASPECT = 100  # a longer and thinner image is scaled to an enormous one, or refused by the processor


@dataclass(frozen=True)
class PreparedImage:
    """One image between its processor and the tower: what the processor made of it, its size (width, height) in px."""

    inputs: "BatchFeature"
    size: tuple[int, int]


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


def check_aspect(image: Image.Image) -> None:
    """InvalidInput for an image more than a hundred times as long as wide."""
    if max(image.size) > MAX_ASPECT * min(image.size):
        raise InvalidInput(
            f"An image of {image.width} × {image.height} px is too long and thin for a vision tower; crop it."
        )
