"""What a model answers, under any projector: one language model in memory, and the projectors take turns in it."""

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import torch
from PIL import Image
from transformers import (
    AutoModelForImageTextToText,
    GenerationConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedModel,
)

from projlens_core.activations.config import open_family
from projlens_core.activations.model import VisionModel
from projlens_core.activations.tokens import image_tokens
from projlens_core.behaviour.chat import chat
from projlens_core.behaviour.generate import STAGE, Enough, FirstLogit, Report, Settled, greedy
from projlens_core.cache import content_key
from projlens_core.device import compute_dtype, pick_device
from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.progress import Progress, silent
from projlens_core.sources import Source, resolve
from projlens_core.weights.families import listed
from projlens_core.weights.projector import ProjectorWeights, as_module

NEW_TOKENS = 30  # the paper's
ATTENTION = "sdpa"  # given, since a config may name a kernel that would be fetched from elsewhere
# How many more parameters a config may describe than its weights hold: buffers and a tied head, not a larger model.
SLACK = 1.05


@dataclass(frozen=True)
class FourAnswers:
    """One question, answered with base and suspect projector about the clean and the triggered image.

    What was not asked (no suspect, no trigger) is None.
    """

    base_clean: str
    base_triggered: str | None
    suspect_clean: str | None
    suspect_triggered: str | None


@dataclass(frozen=True)
class Reply:
    """An answer, or its beginning if it was stopped; and the logit of one token at the first answer position."""

    text: str
    logit: float


Embed = Callable[[list[int]], torch.Tensor]  # numbers of rows → their image embeddings (rows, T, d)


class Responder:
    """A whole llava model that answers questions about images, greedily, under the projector it holds at the moment.

    It may be shared between threads: one at a time answers, or holds a projector in place.
    """

    def __init__(
        self, model: LlavaForConditionalGeneration, processor: LlavaProcessor, label: str, device: torch.device
    ):
        self.model, self.processor, self.label, self.device = model, processor, label, device
        self.vision = VisionModel(model.model.vision_tower, processor.image_processor, model.config, label, device)
        self._lock = threading.RLock()
        self._width: int = model.config.text_config.hidden_size
        self._eos = eos_tokens(model)
        self._pad = processor.tokenizer.pad_token_id if processor.tokenizer.pad_token_id is not None else self._eos[0]
        # generate() fills unset options from here, and the checkpoint's may sample, penalise or force tokens
        model.generation_config = GenerationConfig()

    @contextmanager
    def projector(self, weights: ProjectorWeights) -> Iterator["Responder"]:
        """Answer with this projector inside the block, and with the one before again after it.

        Other threads wait. Raises InvalidInput for a projector that does not fit tower and language model.
        """
        found, wanted = (weights.d_in, weights.d_out), (self.vision.d_vision, self._width)
        if found != wanted:
            raise InvalidInput(
                f"The projector of {weights.source} maps {found[0]} to {found[1]}, but {self.label} needs one from "
                f"{wanted[0]} to {wanted[1]}."
            )
        module = as_module(weights, self.device, self.model.dtype)
        with self._lock:
            before = self.model.model.multi_modal_projector
            self.model.model.multi_modal_projector = module
            try:
                yield self
            finally:
                self.model.model.multi_modal_projector = before

    @cached_property
    def key(self) -> str:
        """What decides the answers beside projector, image and prompt: tower, language model, chat, precision."""
        tokenizer = self.processor.tokenizer
        parts: list[object] = [self.vision.key, str(self.model.dtype), self.processor.chat_template, self._eos]
        parts += [sorted(tokenizer.get_vocab().items()), self.model.config.text_config.to_json_string()]
        for name, tensor in sorted(self.model.state_dict().items()):
            if ".multi_modal_projector." not in name and ".vision_tower." not in name:
                parts += [name, tuple(tensor.shape), tensor.cpu().contiguous().view(torch.uint8).numpy().data]
        return content_key(*parts)

    def first_token(self, text: str) -> int:
        """The token with which an answer begins that says nothing before `text`; InvalidInput if there is none."""
        ids = self.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
        if not ids:
            raise InvalidInput(f"The text {text!r} makes no token; give one that the model could say.")
        return ids[0]

    def embeddings(self, images: Sequence[Image.Image], progress: Progress = silent) -> torch.Tensor:
        """Image embeddings (n, T, d) of the projector in place, on the model's device and in its precision."""
        return self.project(image_tokens(self.vision, images, progress))

    def project(self, tokens: torch.Tensor) -> torch.Tensor:
        """The same from vision-tower tokens: (n, T, d_vision) → (n, T, d)."""
        with torch.no_grad(), self._lock:
            return self.model.model.multi_modal_projector(tokens.to(self.device, self.model.dtype))

    def answers(
        self,
        images: Sequence[Image.Image],
        prompts: Sequence[str],
        max_new_tokens: int = NEW_TOKENS,
        batch_size: int = 8,
        progress: Progress = silent,
    ) -> list[str]:
        """One greedy answer for each image and its prompt, the same in any batch as alone, up to rounding.

        progress counts tokens, those of answers that end early included.
        """
        if len(images) != len(prompts):
            raise ValueError(f"{len(images)} images but {len(prompts)} prompts")
        return self._texts(
            lambda rows: self.embeddings([images[i] for i in rows]), prompts, max_new_tokens, batch_size, progress
        )

    def answer_embeddings(
        self,
        embeddings: torch.Tensor,
        prompts: Sequence[str],
        max_new_tokens: int = NEW_TOKENS,
        batch_size: int = 8,
        progress: Progress = silent,
    ) -> list[str]:
        """Answers from image embeddings (n, T, d), whichever projector made each: see `answers`."""
        return self._texts(lambda rows: embeddings[rows], prompts, max_new_tokens, batch_size, progress)

    def under_each(
        self,
        projectors: Sequence[ProjectorWeights],
        images: Sequence[Image.Image],
        prompt: str,
        max_new_tokens: int,
        progress: Progress,
    ) -> list[str]:
        """Answers to one prompt, image by image under the first projector, then under the next; one batch."""
        rows = []
        for weights in projectors:
            with self.projector(weights):
                rows.append(self.embeddings(images, progress))
        stacked = torch.cat(rows)
        return self.answer_embeddings(
            stacked, [prompt] * len(stacked), max_new_tokens, batch_size=len(stacked), progress=progress
        )

    def _texts(
        self, embed: Embed, prompts: Sequence[str], max_new_tokens: int, batch_size: int, progress: Progress
    ) -> list[str]:
        replies = self.replies(embed, prompts, self._pad, None, max_new_tokens, batch_size, progress)
        return [reply.text for reply in replies]

    def replies(
        self,
        embed: Embed,
        prompts: Sequence[str],
        token: int,
        settled: Sequence[Settled] | None = None,
        max_new_tokens: int = NEW_TOKENS,
        batch_size: int = 8,
        progress: Progress = silent,
        images: Sequence[Image.Image] | None = None,
    ) -> list[Reply]:
        """Answers to the prompts, each only until it is settled[i], and the logit of `token` where each begins.

        embed gives the image embeddings of some rows, so that only one batch of them need be in memory; the projector
        in place stays there until all are answered. images are the pictures of the rows, which other families need to
        know how the embeddings lie; LLaVA's lie in one row.
        """
        tokens = self.vision.tokens
        ids = {prompt: self._token_ids(prompt, tokens, max_new_tokens) for prompt in set(prompts)}
        # rows of equal length go together: less padding
        order = sorted(range(len(prompts)), key=lambda i: len(ids[prompts[i]]))
        replies: list[Reply | None] = [None] * len(prompts)
        total = len(prompts) * max_new_tokens
        with self._lock:  # held for the whole run, or another thread could change the projector between two batches
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                watches = [Report(progress, start * max_new_tokens, len(rows), total)]
                if settled is not None:
                    watches.append(Enough([settled[i] for i in rows], self._text, max_new_tokens))
                first = FirstLogit(token)
                new = greedy(
                    self.model,
                    [ids[prompts[i]] for i in rows],
                    embed(rows),
                    pad=self._pad,
                    eos=self._eos,
                    max_new_tokens=max_new_tokens,
                    watches=watches,
                    first=first,
                )
                for i, written, logit in zip(rows, new, first.values, strict=True):
                    replies[i] = Reply(self._text(written).strip(), logit)
                progress(STAGE, (start + len(rows)) * max_new_tokens, total)
        return replies

    def _text(self, written: list[int]) -> str:
        return self.processor.tokenizer.decode(written, skip_special_tokens=True)

    def _token_ids(self, question: str, tokens: int, max_new_tokens: int) -> list[int]:
        """The chat prompt as token ids, with `tokens` placeholders where the image goes."""
        marker = self.processor.image_token
        if not question.strip():
            raise InvalidInput("The question is empty; ask something about the image.")
        if marker in question:
            raise InvalidInput(f"The question holds {marker}, which stands for the image itself; leave it out.")
        text = chat(question, marker, self.processor, self.label)
        ids: list[int] = self.processor.tokenizer(text.replace(marker, marker * tokens))["input_ids"]
        if ids.count(self.model.config.image_token_id) != tokens:
            raise InvalidInput(
                f"The chat template or tokenizer of {self.label} does not put the image into the prompt once; "
                f"found {ids.count(self.model.config.image_token_id)} places for {tokens} image tokens."
            )
        room = self.model.config.text_config.max_position_embeddings - max_new_tokens
        if len(ids) > room:
            raise InvalidInput(f"The question makes a prompt of {len(ids)} tokens, and there is room for {room}.")
        return ids


def load_responder(
    source: Source | str, device: torch.device | str | None = None, progress: Progress = silent
) -> Responder:
    """Load a whole model from safetensors, none of the checkpoint's code: half precision on a GPU, else float32.

    For zoo:NAME the zoo's checkpoint is put together first, once. Raises InvalidInput or Unsupported, in one
    sentence, if the model cannot be run exactly as its files say, missing tensors included.
    """
    source = source if isinstance(source, Source) else resolve(source)
    if source.zoo is not None:
        from projlens_core.zoo.assemble import checkpoint_folder  # only here: own models need nothing of the zoo

        folder = checkpoint_folder(progress)
        source = Source(source.spec, source.label, folder, folder, None)
    checkpoint, config, family = open_family(source)
    files = {checkpoint.info(name).file.name for name in checkpoint.names}
    if other := sorted(name for name in files if not name.endswith(".safetensors")):
        raise Unsupported(
            f"{source.label} keeps its language model in {listed(other)}; answers are loaded from safetensors alone: "
            "a pickle is not run, and other forms are not whole models."
        )
    stored = sum(math.prod(checkpoint.info(name).shape) for name in checkpoint.names)
    device = pick_device(str(device) if device else None)
    if family.name != "llava":
        from projlens_core.behaviour.family import load_family_responder  # only here: llava need not wait for it

        return load_family_responder(source, config, family, stored, device, progress)
    with torch.device("meta"):
        sketch = AutoModelForImageTextToText.from_config(config, attn_implementation=ATTENTION)
    check_described(source.label, sum(parameter.numel() for parameter in sketch.parameters()), stored)
    options = {"trust_remote_code": False, "local_files_only": True}
    progress("Loading the language model", 0, 1)
    try:
        processor = LlavaProcessor.from_pretrained(source.model, **options)
        model, info = LlavaForConditionalGeneration.from_pretrained(
            source.model,
            config=config,
            dtype=compute_dtype(device),
            use_safetensors=True,
            attn_implementation=ATTENTION,
            output_loading_info=True,
            **options,
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError, ImportError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InvalidInput(f"{source.label} cannot be loaded: {reason}") from error
    check_complete(source.label, info)
    progress("Loading the language model", 1, 1)
    return Responder(model.requires_grad_(False).eval().to(device), processor, source.label, device)


def check_described(label: str, described: int, stored: int) -> None:
    """InvalidInput if a config describes more numbers than the weights hold."""
    if described > SLACK * stored:
        raise InvalidInput(
            f"The config of {label} describes {described:,} parameters, but its weights hold {stored:,}."
        )


def check_complete(label: str, info: dict) -> None:
    """InvalidInput for missing tensors, which transformers would fill with random numbers."""
    if missing := sorted(info["missing_keys"]):
        raise InvalidInput(f"{label} lacks {listed(missing)}; complete the checkpoint.")


def four_answers(
    responder: Responder,
    base: ProjectorWeights,
    suspect: ProjectorWeights | None,
    clean: Image.Image,
    triggered: Image.Image | None,
    prompt: str,
    max_new_tokens: int = NEW_TOKENS,
    progress: Progress = silent,
) -> FourAnswers:
    """Base and suspect, clean and triggered: up to four answers to one prompt."""
    images = [clean] if triggered is None else [clean, triggered]
    said = responder.under_each(
        [weights for weights in (base, suspect) if weights], images, prompt, max_new_tokens, progress
    )
    by_projector = [said[i : i + len(images)] for i in range(0, len(said), len(images))]
    pairs = [(answers[0], answers[1] if triggered is not None else None) for answers in by_projector]
    return FourAnswers(*pairs[0], *(pairs[1] if suspect is not None else (None, None)))


def eos_tokens(model: PreTrainedModel) -> list[int]:
    """The tokens that end an answer, as the checkpoint's generation config or else its text config says."""
    found = model.generation_config.eos_token_id
    found = model.config.get_text_config().eos_token_id if found is None else found
    tokens = found if isinstance(found, list) else [found]
    vocabulary = model.config.get_text_config().vocab_size
    if not tokens or not all(isinstance(token, int) and 0 <= token < vocabulary for token in tokens):
        raise InvalidInput(f"The model's end-of-text token is {found!r}, expected one or more below {vocabulary}.")
    return tokens
