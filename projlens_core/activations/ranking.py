"""A set of images ranked by how far their patches are pushed along a direction."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

By = Literal["mean", "largest"]


@dataclass(frozen=True)
class Ranking:
    """|ΔE·v₀| of each image's tokens, in embedding units; in the order of names."""

    names: tuple[str, ...]
    mean: np.ndarray  # (n,) float64, over the image's tokens
    largest: np.ndarray  # (n,) float64

    def order(self, by: By = "mean") -> np.ndarray:
        """Indices of the images, the farthest pushed first; ties, and NaN last, in the order of names."""
        return np.argsort(-getattr(self, by), kind="stable")

    def places(self, by: By = "mean") -> np.ndarray:
        """Each image's place, 1 for the farthest pushed: (n,)."""
        places = np.empty(len(self.names), dtype=np.int64)
        places[self.order(by)] = np.arange(1, len(self.names) + 1)
        return places


def ranking(names: Sequence[str], shifts: Iterable[torch.Tensor]) -> Ranking:
    """Rank images by the signed shifts (c, T) of their tokens, which come chunk by chunk in the order of names.

    Two numbers an image are kept and nothing else, so a generator of chunks ranks any number of images in the memory
    of one chunk.
    """
    means, largest = [], []
    for chunk in shifts:
        magnitude = chunk.abs()
        means.append(magnitude.mean(dim=1, dtype=torch.float64))
        largest.append(magnitude.amax(dim=1).double())
    found = Ranking(tuple(names), torch.cat(means).numpy(), torch.cat(largest).numpy())
    if len(found.mean) != len(found.names):
        raise ValueError(f"{len(found.names)} names were given for the shifts of {len(found.mean)} images")
    return found
