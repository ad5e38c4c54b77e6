"""One image between its processor and the vision tower."""

from dataclasses import dataclass

from transformers import BatchFeature

Size = tuple[int, int]  # width, height


@dataclass(frozen=True)
class PreparedImage:
    """One image on its way: what the processor made of it, and its size in px."""

    inputs: BatchFeature
    size: Size
