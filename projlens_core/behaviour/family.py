"""Answers of any family that transformers loads, under any projector: one whole model, whose projector's parameters
are exchanged in place, so that what runs is the suspect itself."""

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import nn
from transformers import (
    AutoImageProcessor,
    AutoModelForImageTextToText,
    AutoTokenizer,
    BaseImageProcessor,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
)

from projlens_core.activations.encoder import FamilyVision, check_runs
from projlens_core.activations.layout import TokenMap
from projlens_core.activations.tokens import image_tokens
from projlens_core.behaviour.generate import STAGE, Enough, FirstLogit, Report, Settled
from projlens_core.behaviour.prompts import NO_STYLE, STYLES, Place, texts, token_ids, types
from projlens_core.behaviour.respond import (
    ATTENTION,
    NEW_TOKENS,
    Embed,
    Reply,
    Responder,
    check_complete,
    check_described,
    eos_tokens,
)
from projlens_core.cache import content_key
from projlens_core.device import compute_dtype
from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.progress import Progress, silent
from projlens_core.sources import Source
from projlens_core.weights.families import Family, match
from projlens_core.weights.projector import ProjectorWeights, as_module, read_projector


class Parts(NamedTuple):
    """What turns a question and an image into the model's inputs."""

    tokenizer: PreTrainedTokenizerBase
    image_processor: BaseImageProcessor


class FamilyResponder(Responder):
    """A whole model that answers one question at a time, greedily, under the projector it holds at the moment."""

    def __init__(self, model: PreTrainedModel, parts: Parts, own: ProjectorWeights, label: str, device: torch.device):
        self.model, self.processor, self.label, self.device = model, parts, label, device
        self.family: Family = own.family
        self.vision = FamilyVision(model.model, parts.image_processor, own.family, label, device)
        self._lock = threading.RLock()
        self._held = own
        found = match(model.state_dict().keys(), model.config.model_type, label, own.family.name)
        self._places = found.tensors | found.beside  # {canonical name: parameter}
        self._soft, self._marker = texts(own.family.name, model.config, parts.tokenizer)
        self._eos = eos_tokens(model)
        self._pad = parts.tokenizer.pad_token_id if parts.tokenizer.pad_token_id is not None else self._eos[0]
        # generate() fills unset options from here, and the checkpoint's may sample, penalise or force tokens
        model.generation_config = GenerationConfig()

    @contextmanager
    def projector(self, weights: ProjectorWeights) -> Iterator["FamilyResponder"]:
        """Answer with this projector inside the block, and with the one before again after it.

        Other threads wait. Raises InvalidInput for a projector that does not fit the model, Unsupported for one whose
        config runs it otherwise (another activation function).
        """
        self._check(weights)
        with self._lock:
            before, held = {}, self._held
            try:
                for name, values in (weights.tensors | weights.beside).items():
                    owner, store, leaf = self._owner(self._places[name])
                    before[name] = owner, store, leaf, getattr(owner, leaf)
                    stored = _as_stored(values, getattr(owner, leaf), name, self.family)
                    getattr(owner, store)[leaf] = stored if store == "_buffers" else nn.Parameter(stored, False)
                self._held = weights
                yield self
            finally:
                for owner, store, leaf, value in before.values():
                    getattr(owner, store)[leaf] = value
                self._held = held

    @cached_property
    def key(self) -> str:
        """What decides the answers beside projector, image and prompt: tower, language model, chat, precision."""
        tokenizer, config = self.processor.tokenizer, self.model.config
        parts: list[object] = [self.vision.key, str(self.model.dtype), tokenizer.chat_template, self._eos]
        parts += [sorted(tokenizer.get_vocab().items()), config.get_text_config().to_json_string()]
        own = set(self._places.values())
        for name, tensor in sorted(self.model.state_dict().items()):
            if name not in own:
                parts += [name, tuple(tensor.shape), tensor.cpu().contiguous().view(torch.uint8).numpy().data]
        return content_key(*parts)

    def embeddings(self, images: Sequence[Image.Image], progress: Progress = silent) -> torch.Tensor:
        """Image embeddings (n, T, d) of the projector in place, newlines and separators left out."""
        return self.project(image_tokens(self.vision, images, progress))

    def project(self, tokens: torch.Tensor) -> torch.Tensor:
        """The same from what the projector reads: (n, T_in, d_vision) → (n, T, d)."""
        with torch.no_grad(), self._lock:
            return as_module(self._held, self.device, self.model.dtype)(tokens.to(self.device, self.model.dtype))

    def answers(
        self,
        images: Sequence[Image.Image],
        prompts: Sequence[str],
        max_new_tokens: int = NEW_TOKENS,
        batch_size: int = 1,
        progress: Progress = silent,
    ) -> list[str]:
        """One greedy answer for each image and its prompt, from its pixels, one after the other."""
        if len(images) != len(prompts):
            raise ValueError(f"{len(images)} images but {len(prompts)} prompts")
        replies = self.replies(None, prompts, self._pad, None, max_new_tokens, 1, progress, images)
        return [reply.text for reply in replies]

    def under_each(
        self,
        projectors: Sequence[ProjectorWeights],
        images: Sequence[Image.Image],
        prompt: str,
        max_new_tokens: int,
        progress: Progress,
    ) -> list[str]:
        """Answers to one prompt, image by image under the first projector, then under the next."""
        said = []
        for weights in projectors:
            with self.projector(weights):
                said += self.answers(images, [prompt] * len(images), max_new_tokens, 1, progress)
        return said

    def replies(
        self,
        embed: Embed | None,
        prompts: Sequence[str],
        token: int,
        settled: Sequence[Settled] | None = None,
        max_new_tokens: int = NEW_TOKENS,
        batch_size: int = 1,
        progress: Progress = silent,
        images: Sequence[Image.Image] | None = None,
    ) -> list[Reply]:
        """Answers to the prompts about the images, each only until it is settled[i], and the logit of `token` where
        each begins.

        embed gives the image embeddings of some rows, whichever projector made them; without it they are those of the
        projector in place. The images say how the embeddings lie, so they are needed all the same.
        """
        if images is None:
            raise Unsupported(f"Answers from embeddings alone: {self.family.title} needs the pictures they are of.")
        replies, total = [], len(prompts) * max_new_tokens
        with self._lock:
            for i, (image, prompt) in enumerate(zip(images, prompts, strict=True)):
                given = embed([i])[0] if embed else None
                inputs, features = self.inputs(image, prompt, max_new_tokens, given)
                start = inputs["input_ids"].shape[1]
                watches: list[StoppingCriteria] = [Report(progress, i * max_new_tokens, 1, total)]
                if settled is not None:
                    watches.append(_AfterPrompt(Enough([settled[i]], self._text, max_new_tokens), start))
                first = FirstLogit(token)
                del inputs["pixel_values"]  # their features are here
                new = self.model.generate(
                    **inputs,
                    mm_encoder_outputs={"image": features},
                    generation_config=GenerationConfig(
                        do_sample=False,
                        num_beams=1,
                        max_new_tokens=max_new_tokens,
                        eos_token_id=self._eos,
                        pad_token_id=self._pad,
                    ),
                    stopping_criteria=watches,
                    logits_processor=[first],
                )
                replies.append(Reply(self._text(new[0, start:].tolist()).strip(), first.values[0]))
                progress(STAGE, (i + 1) * max_new_tokens, total)
        return replies

    def inputs(
        self, image: Image.Image, prompt: str, max_new_tokens: int, given: torch.Tensor | None = None
    ) -> tuple[dict[str, torch.Tensor], Any]:
        """The model's inputs for one question about one image, and the image's features under the projector in place,
        or with the embeddings `given` (T, d) instead.
        """
        picture = self.vision.prepared(image.convert("RGB"))
        pixels = self.vision.tensors(picture)
        with torch.no_grad():
            features = self.model.model.get_image_features(**pixels)
        rows = _rows(features.pooler_output)
        layout = self.vision.layout(image.size)
        if given is not None:
            newline = getattr(self.model.model, "image_newline", None)
            features.pooler_output = _refilled(features.pooler_output, given, layout, newline, self.family)
        place = Place(len(rows), picture, layout, self.processor.tokenizer, self._soft, self._marker)
        ids = token_ids(self.family.name, prompt, place, self.label)
        room = self.model.config.get_text_config().max_position_embeddings - max_new_tokens
        if len(ids) > room:
            raise InvalidInput(f"The question makes a prompt of {len(ids)} tokens, and there is room for {room}.")
        input_ids = torch.tensor([ids], device=self.device)
        asked = {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}
        return asked | types(self.family.name, input_ids, self.model.config) | pixels, features

    def _owner(self, name: str) -> tuple[nn.Module, str, str]:
        path, _, leaf = name.rpartition(".")
        owner = self.model.get_submodule(path)
        return owner, "_parameters" if leaf in owner._parameters else "_buffers", leaf

    def _check(self, weights: ProjectorWeights) -> None:
        own = self._held
        shapes = {name: tuple(tensor.shape) for name, tensor in (weights.tensors | weights.beside).items()}
        fits = {name: tuple(tensor.shape) for name, tensor in (own.tensors | own.beside).items()}
        if weights.family.layers != own.family.layers or any(fits.get(name) != shapes[name] for name in shapes):
            raise InvalidInput(
                f"The projector of {weights.source} ({weights.family.title}, {weights.d_in} to {weights.d_out}) does "
                f"not fit {self.label} ({own.family.title}, {own.d_in} to {own.d_out})."
            )
        if weights.settings != own.settings:
            raise Unsupported(
                f"The projector of {weights.source} runs with {weights.settings}, that of {self.label} with "
                f"{own.settings}; load the suspect's whole model to hear it."
            )


class _AfterPrompt(StoppingCriteria):
    """A criterion that is to see new tokens only."""

    def __init__(self, inner: StoppingCriteria, start: int):
        self.inner, self.start = inner, start

    def __call__(self, input_ids: torch.Tensor, scores: object, **kwargs: object) -> torch.Tensor:
        """What the inner one says of what comes after the prompt."""
        return self.inner(input_ids[:, self.start :], scores, **kwargs)


def load_family_responder(
    source: Source, config: Any, family: Family, stored: int, device: torch.device, progress: Progress
) -> FamilyResponder:
    """Load a whole model; errors as respond.load_responder. stored is how many numbers its weights hold."""
    check_runs(family, source.label)
    if reason := NO_STYLE.get(family.name):
        raise Unsupported(f"{source.label} is a {family.title} model, which is not asked: {reason}.")
    if family.name not in STYLES:
        raise Unsupported(f"{source.label} is a {family.title} model, whose prompts this version does not write.")
    with torch.device("meta"):
        sketch = AutoModelForImageTextToText.from_config(config, attn_implementation=ATTENTION)
    described = sum(parameter.numel() for parameter in sketch.parameters())
    check_described(source.label, described, stored)
    options = {"trust_remote_code": False, "local_files_only": True}
    progress("Loading the language model", 0, 1)
    try:
        parts = Parts(
            AutoTokenizer.from_pretrained(source.model, **options),
            AutoImageProcessor.from_pretrained(source.model, **options),
        )
        model, info = AutoModelForImageTextToText.from_pretrained(
            source.model,
            config=config,
            dtype=compute_dtype(device),
            use_safetensors=True,
            attn_implementation=ATTENTION,
            output_loading_info=True,
            **options,
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError, ImportError, RuntimeError) as error:
        raise InvalidInput(f"{source.label} cannot be loaded: {' '.join(str(error).split())[:300]}") from error
    check_complete(source.label, info)
    progress("Loading the language model", 1, 1)
    own = read_projector(source)
    return FamilyResponder(model.requires_grad_(False).eval().to(device), parts, own, source.label, device)


def _as_stored(values: torch.Tensor, like: torch.Tensor, name: str, family: Family) -> torch.Tensor:
    """A canonical tensor in the shape, precision and place of the parameter it replaces."""
    layer = next((layer for layer in family.layers if name == f"{layer.name}.weight"), None)
    if layer is not None and layer.transposed:
        values = values.T
    return values.reshape(like.shape).to(like).contiguous()


def _rows(features: Any) -> torch.Tensor:
    """All image embeddings of one image, (rows, d), of a tensor or of several."""
    parts = features if isinstance(features, (list, tuple)) else [features]
    return torch.cat([part.reshape(-1, part.shape[-1]) for part in parts])


def _refilled(
    features: Any, given: torch.Tensor, layout: TokenMap, newline: torch.Tensor | None, family: Family
) -> Any:
    """Features of the same form with `given`, in the layout's order, in the place of theirs; newlines stay."""
    rows = _rows(features).clone()
    image = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    if newline is not None:
        image = ~(rows == newline).all(dim=-1)
    if int(image.sum()) != len(given):
        raise Unsupported(
            f"{family.title} shrinks the embeddings of so large an image after its projector, so they cannot be "
            "exchanged; choose a trigger with a smaller resolution."
        )
    places = image.nonzero().flatten()
    rows[places if layout.order is None else places[torch.from_numpy(layout.order).to(places.device)]] = given.to(rows)
    if isinstance(features, (list, tuple)):
        sizes = [math.prod(part.shape[:-1]) for part in features]
        return type(features)(
            chunk.reshape(part.shape) for chunk, part in zip(rows.split(sizes), features, strict=True)
        )
    return rows.reshape(features.shape)
