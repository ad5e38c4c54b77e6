"""What members are fine-tunes of: the nursery's own tiny model, or the zoo's model on SmolLM2."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from projlens_core.demo_model import checkpoint, tiny
from projlens_core.demo_model.language import weights_file
from projlens_core.nursery.base import frozen
from projlens_core.nursery.language import tokenizer
from projlens_core.runtime.cache import content_key
from projlens_core.zoo import suspect
from projlens_core.zoo.training import Frozen, Projector


class Source(ABC):
    """A base model between whose tower and language model a projector is fine-tuned; the tower is the zoo's."""

    @property
    @abstractmethod
    def key(self) -> str:
        """What identifies it: its files' content."""

    @abstractmethod
    def tensors(self) -> dict[str, torch.Tensor]:
        """Its projector's tensors in float32, by their names in a Projector."""

    @abstractmethod
    def around(self) -> Frozen:
        """Its language model, in the precision it is trained through, and its tokenizer; no tower."""

    @abstractmethod
    def checkpoint(self) -> Path:
        """The whole llava checkpoint, in the cache."""

    def projector(self) -> Projector:
        """Its projector, frozen."""
        return projector(self.tensors())


@dataclass(frozen=True)
class Tiny(Source):
    """The tiny model, whose parts lie in `folder`."""

    folder: Path = tiny.NURSERY

    @property
    def key(self) -> str:
        """Of its language model and projector."""
        return content_key(*((self.folder / name).read_bytes() for name in (tiny.LANGUAGE, tiny.PROJECTOR)))[:16]

    def tensors(self) -> dict[str, torch.Tensor]:
        """As it ships, in float32."""
        return tiny.base_tensors(self.folder)

    def around(self) -> Frozen:
        """In float32."""
        return frozen(tiny.load_language(self.folder), tokenizer())

    def checkpoint(self) -> Path:
        """Made in a second."""
        return tiny.checkpoint_folder(self.folder)


@dataclass(frozen=True)
class SmolLM2(Source):
    """The zoo's base: SmolLM2-135M behind a projector of 256 → 576 → 576."""

    @property
    def key(self) -> str:
        """Of its projector, and name and size of its language model's file."""
        weights = weights_file()
        return content_key(suspect.BASE.read_bytes(), weights.name, weights.stat().st_size)[:16]

    def tensors(self) -> dict[str, torch.Tensor]:
        """As it ships."""
        return suspect.base_tensors()

    def around(self) -> Frozen:
        """In bfloat16 where the processor multiplies it, see zoo.training.training_dtype."""
        loaded = suspect.load_frozen(torch.device("cpu"))
        words = loaded.tokenizer
        words.padding_side = "left"  # answers are written behind the questions, several at once
        return Frozen(None, loaded.language, words, loaded.device)

    def checkpoint(self) -> Path:
        """Made in half a minute."""
        return checkpoint.checkpoint_folder()


TINY, SMOLLM2 = Tiny(), SmolLM2()


def projector(tensors: dict[str, torch.Tensor]) -> Projector:
    """The module with these tensors, in float32, for reading only."""
    made = Projector(len(tensors["linear_2.bias"]))
    made.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    return made.eval().requires_grad_(False)


@cache
def source_of(key: str) -> Source:
    """The base that ships whose key is given; the tiny one if none has it, as its members name a former one, too."""
    if key == TINY.key:  # first: SmolLM2 need not be installed for its members
        return TINY
    return SMOLLM2 if key == SMOLLM2.key else TINY
