"""A whole model that answers questions about images under any projector: what it is for every family."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from PIL import Image
from transformers import BaseImageProcessor, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin

from projlens_core.activations.tokens import image_tokens
from projlens_core.activations.vision import VisionTower
from projlens_core.behaviour.generate import Heard, Settled, listening
from projlens_core.behaviour.packed import named_tensors
from projlens_core.behaviour.templates import Template
from projlens_core.errors import InvalidInput
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.progress import Progress, silent
from projlens_core.weights.projector import ProjectorWeights

NEW_TOKENS = 30  # the paper's


@dataclass(frozen=True)
class Reply:
    """An answer, or its beginning if it was stopped; and the logit of one token at the first answer position."""

    text: str
    logit: float


@dataclass(frozen=True)
class Parts:
    """What turns a question and an image into a model's inputs, where the library's own processor cannot be made.

    reader: what turns the question into what a projector reads of it, if it reads any. settings: what the checkpoint
    tells the library's processor.
    """

    tokenizer: PreTrainedTokenizerBase
    image_processor: BaseImageProcessor
    reader: PreTrainedTokenizerBase | None = None
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class GivenAnswer:
    """A question about an image with the answer that is given, as token ids, its end of text included where it ends.

    embeddings: (T, d), whichever projector made them; or the image itself, which is read under the projector in place.
    """

    prompt: str
    answer: Sequence[int]
    embeddings: torch.Tensor | None = None
    image: Image.Image | None = None


# rows → logits (answer + 1, vocabulary) and image places (length,) of each row, attention (rows, heads, length, length)
# by layer, padded on the left, where it was asked for
Read = Callable[[Sequence[GivenAnswer]], tuple[list[torch.Tensor], list[torch.Tensor], dict[int, torch.Tensor]]]
Embed = Callable[[list[int]], torch.Tensor]  # numbers of images → their image embeddings (images, T, d)


@dataclass(frozen=True)
class Inquiry:
    """Questions that are answered together: prompts[i] is about the image of number image_index[i], or without those
    about its own; of each answer the logit of `token` is noted where it begins.

    images are read under the projector in place, which stays there until all are answered; embed gives the image
    embeddings of some of them instead, whichever projector made those, so that only one batch of them need be in
    memory. Each answer is written only until it is settled[i]. batch_size: answers decoded together, by default as many
    as memory lets pay.
    """

    prompts: Sequence[str]
    token: int
    images: Sequence[Image.Image] | None = None
    embed: Embed | None = None
    settled: Sequence[Settled] | None = None
    max_new_tokens: int = NEW_TOKENS
    image_index: Sequence[int] | None = None
    batch_size: int | None = None


class Responder(ABC):
    """A whole model that answers questions about images, greedily, under the projector it holds at the moment.

    It may be shared between threads: one at a time answers, or holds a projector in place.
    """

    reads_again = False  # whether each answer runs the tower anew, so that nothing is saved by tokens taken before

    def __init__(
        self,
        model: PreTrainedModel,
        processor: ProcessorMixin | Parts,
        vision: VisionTower,
        template: Template,
        label: str,
        device: torch.device,
    ):
        self.model, self.processor, self.vision, self.label, self.device = model, processor, vision, label, device
        self.template = template
        processor.tokenizer.chat_template = template.text  # its own could be another, or several by name
        self._lock = threading.RLock()
        self._eos = _eos_tokens(model)
        self._pad = processor.tokenizer.pad_token_id if processor.tokenizer.pad_token_id is not None else self._eos[0]
        # generate() fills unset options from here, and the checkpoint's may sample, penalise or force tokens
        model.generation_config = GenerationConfig()

    @abstractmethod
    def projector(self, weights: ProjectorWeights) -> AbstractContextManager["Responder"]:
        """Answer with this projector inside the block, and with the one before again after it.

        Other threads wait. Raises InvalidInput for a projector that does not fit tower and language model.
        """

    @abstractmethod
    def project(self, tokens: torch.Tensor) -> torch.Tensor:
        """Image embeddings of the projector in place: (n, T_in, d_vision) of what it reads → (n, T, d)."""

    @abstractmethod
    def replies(self, asked: Inquiry, progress: Progress = silent) -> list[Reply]:
        """The answers; progress counts tokens, those of answers that end early included."""

    @abstractmethod
    def reading(self, attention: bool) -> AbstractContextManager[Read]:
        """What reads prompts with given answers in one pass, for `inside.look_inside`; other threads wait."""

    def answer_ids(self, text: str) -> list[int]:
        """An answer as the model would have written it: its tokens, and the end of text."""
        return [*self.processor.tokenizer(text, add_special_tokens=False)["input_ids"], self._eos[0]]

    @abstractmethod
    def _adjacent(self, name: str) -> bool:
        """Whether the tensor of this name decides answers beside the projector and what the vision's key stands for."""

    @cached_property
    def key(self) -> str:
        """What decides the answers beside projector, image and prompt: tower, language model, chat, precision."""
        text_config = self.model.config.get_text_config().to_json_string()
        parts: list[object] = [self.vision.key, str(self.model.dtype), self.template.text, self._eos]
        tokenizers = [self.processor.tokenizer, getattr(self.processor, "reader", None)]
        parts += [sorted(each.get_vocab().items()) for each in tokenizers if each is not None]
        parts.append(text_config)
        for name, tensor in named_tensors(self.model):
            if self._adjacent(name):
                values = tensor.cpu().contiguous().view(torch.uint8).numpy().data
                parts.append(content_key(name, tuple(tensor.shape), values))  # one at a time: it may be a copy
        return content_key(*parts)

    def first_token(self, text: str) -> int:
        """The token with which an answer begins that says nothing before `text`; InvalidInput if there is none."""
        ids = self.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
        if not ids:
            raise InvalidInput(f"The text {text!r} makes no token; give one that the model could say.")
        return ids[0]

    def embeddings(self, images: Sequence[Image.Image], progress: Progress = silent) -> torch.Tensor:
        """Image embeddings (n, T, d) of the projector in place, without newlines and separators, on the model's device
        and in its precision.
        """
        return self.project(image_tokens(self.vision, images, progress))

    def answers(
        self,
        images: Sequence[Image.Image],
        prompts: Sequence[str],
        max_new_tokens: int = NEW_TOKENS,
        batch_size: int | None = None,
        progress: Progress = silent,
        heard: Heard | None = None,
    ) -> list[str]:
        """One greedy answer for each image and its prompt, the same in any batch as alone, up to rounding.

        An image that stands there several times, as the same object, is read once for all its prompts. progress counts
        tokens, those of answers that end early included; heard is told each answer as it grows.
        """
        if len(images) != len(prompts):
            raise ValueError(f"{len(images)} images but {len(prompts)} prompts")
        distinct = {id(image): image for image in images}
        numbers = {key: number for number, key in enumerate(distinct)}
        asked = Inquiry(
            prompts,
            self._pad,
            list(distinct.values()),
            settled=listening(heard, len(prompts)) if heard else None,
            max_new_tokens=max_new_tokens,
            image_index=[numbers[id(image)] for image in images],
            batch_size=batch_size,
        )
        return [reply.text for reply in self.replies(asked, progress)]

    def under_each(
        self,
        projectors: Sequence[ProjectorWeights],
        images: Sequence[Image.Image],
        prompt: str,
        max_new_tokens: int,
        progress: Progress,
        heard: Heard | None = None,
    ) -> list[str]:
        """Answers to one prompt, image by image under the first projector, then under the next."""
        said: list[str] = []
        for weights in projectors:
            passed_on = _after(heard, len(said)) if heard else None
            with self.projector(weights):
                said += self.answers(images, [prompt] * len(images), max_new_tokens, progress=progress, heard=passed_on)
        return said

    def _text(self, written: list[int]) -> str:
        return str(self.processor.tokenizer.decode(written, skip_special_tokens=True))

    def _check_room(self, ids: list[int], max_new_tokens: int) -> None:
        """InvalidInput for a prompt that leaves no room for an answer."""
        room = self.model.config.get_text_config().max_position_embeddings - max_new_tokens
        if len(ids) > room:
            raise InvalidInput(f"The question makes a prompt of {len(ids)} tokens, and there is room for {room}.")


def _after(heard: Heard, before: int) -> Heard:
    """`heard`, told of answers that come behind so many others."""
    return lambda number, text: heard(before + number, text)


def _eos_tokens(model: PreTrainedModel) -> list[int]:
    """The tokens that end an answer, as the checkpoint's generation config or else its text config says."""
    found = model.generation_config.eos_token_id
    found = model.config.get_text_config().eos_token_id if found is None else found
    tokens = found if isinstance(found, list) else [found]
    vocabulary = model.config.get_text_config().vocab_size
    if not tokens or not all(isinstance(token, int) and 0 <= token < vocabulary for token in tokens):
        raise InvalidInput(f"The model's end-of-text token is {found!r}, expected one or more below {vocabulary}.")
    return tokens
