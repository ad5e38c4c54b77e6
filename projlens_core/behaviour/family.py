"""Answers of any family that transformers loads, under any projector: one whole model, whose projector's parameters
are exchanged in place, so that what runs is the suspect itself."""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from PIL import Image
from torch import nn
from transformers import (
    DynamicCache,
    GenerationMixin,
    LogitsProcessorList,
    PreTrainedModel,
    StoppingCriteria,
    StoppingCriteriaList,
)

from projlens_core.activations.encoder import FamilyVision, check_runs, vision_side
from projlens_core.behaviour.generate import STAGE, Enough, FirstLogit, Report, greedily
from projlens_core.behaviour.prompts import NO_STYLE, STYLES, Place, image_token, texts, token_ids, types
from projlens_core.behaviour.responder import GivenAnswer, Inquiry, Parts, Read, Reply, Responder
from projlens_core.behaviour.templates import Template
from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.runtime.progress import Progress, silent
from projlens_core.runtime.required import required
from projlens_core.weights.delta import check_same_input
from projlens_core.weights.families import Family, match
from projlens_core.weights.projector import ProjectorWeights, as_module


class FamilyResponder(Responder):
    """A whole model that answers one question at a time, greedily, under the projector it holds at the moment."""

    reads_again = True
    processor: Parts
    vision: FamilyVision

    def __init__(
        self,
        model: PreTrainedModel,
        parts: Parts,
        own: ProjectorWeights,
        template: Template,
        label: str,
        device: torch.device,
    ):
        vision = FamilyVision(vision_side(model), parts.image_processor, own.family, label, device)
        super().__init__(model, parts, vision, template, label, device)
        if model.config.get_text_config().is_encoder_decoder:
            raise Unsupported(
                f"{label} has a language model of type {model.config.get_text_config().model_type}, which reads the "
                "prompt apart from the answer; only those that read both in one are asked."
            )
        self.family: Family = own.family
        self._own = self._held = own
        found = match(model.state_dict().keys(), model.config.model_type, label, own.family.name)
        self._places = found.tensors | found.adjacent  # {canonical name: parameter}
        self._reads = inspect.signature(model.forward).parameters  # MiniCPM-V tells its tokens apart since 4.7
        self._soft, self._marker = texts(own.family.name, model.config, parts.tokenizer)

    @contextmanager
    def projector(self, weights: ProjectorWeights) -> Iterator["FamilyResponder"]:
        """See Responder; Unsupported for a projector whose config runs it otherwise (another activation function)."""
        self._check(weights)
        with self._lock:
            before, held = {}, self._held
            try:
                for name, values in (weights.tensors | weights.adjacent).items():
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

    def embeddings(self, images: Sequence[Image.Image], progress: Progress = silent) -> torch.Tensor:
        """See Responder; Unsupported for a projector that reads other tokens than this model's own tower gives."""
        check_same_input(self._own, self._held)
        return super().embeddings(images, progress)

    def project(self, tokens: torch.Tensor) -> torch.Tensor:
        """See Responder."""
        with torch.no_grad(), self._lock:
            return as_module(self._held, self.device, self.model.dtype)(tokens.to(self.device, self.model.dtype))

    def replies(self, asked: Inquiry, progress: Progress = silent) -> list[Reply]:
        """See Responder; one after the other, about images alone: this reads them again for each question."""
        images, max_new_tokens = asked.images, asked.max_new_tokens
        if images is None or asked.embed is not None:
            raise Unsupported(
                f"A {self.family.title} model is asked about images, under each projector in turn, not about "
                "embeddings that were made before."
            )
        replies, total = [], len(asked.prompts) * max_new_tokens
        with self._lock:
            for i, prompt in enumerate(asked.prompts):
                number = i if asked.image_index is None else asked.image_index[i]
                inputs, features = self.inputs(images[number], prompt, max_new_tokens)
                start = inputs["input_ids"].shape[1]
                watches: list[StoppingCriteria] = [Report(progress, i * max_new_tokens, 1, total)]
                if asked.settled is not None:
                    watches.append(Enough([asked.settled[i]], self._text, max_new_tokens, start))
                first = FirstLogit(asked.token)
                model, given = self._with_features(inputs, features)
                new: Any = GenerationMixin.generate(  # Janus' own loses the processors that it is given
                    model,
                    **given,
                    generation_config=greedily(self._eos, self._pad, max_new_tokens),
                    stopping_criteria=StoppingCriteriaList(watches),
                    logits_processor=LogitsProcessorList([first]),
                )
                replies.append(Reply(self._text(new[0, start:].tolist()).strip(), first.values[0]))
                progress(STAGE, (i + 1) * max_new_tokens, total)
        return replies

    @contextmanager
    def reading(self, attention: bool) -> Iterator[Read]:
        """See Responder; rows need images, and are read one after the other under the projector in place."""
        if STYLES[self.family.name].crossed:
            raise Unsupported(
                f"A {self.family.title} model reads the image apart from the text, by cross-attention: no image tokens "
                "stand in its prompt to be looked at."
            )
        if attention:
            raise Unsupported(f"The attention of a {self.family.title} model is not read; that of LLaVA's is.")
        with self._lock:
            yield self._forced

    def _forced(
        self, rows: Sequence[GivenAnswer]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor], dict[int, torch.Tensor]]:
        logits, places = [], []
        for row in rows:
            if row.image is None:
                raise ValueError("a row about an image is needed, its embeddings are made anew")
            inputs, features = self.inputs(row.image, row.prompt, len(row.answer))
            inputs = {name: self._longer(name, value, row.answer) for name, value in inputs.items()}
            if image_token(self.model.config) in row.answer:
                raise InvalidInput(f"The answer holds the token that stands for an image in {self.label}.")
            model, given = self._with_features(inputs, features)
            if "inputs_embeds" in given:
                given.pop("input_ids")
            read = model.forward(**given, use_cache=False, logits_to_keep=len(row.answer) + 1)
            logits.append(read.logits[0, -len(row.answer) - 1 :])
            places.append(
                inputs["input_ids"][0] == required(image_token(self.model.config), "the id of the image token")
            )
        return logits, places, {}

    def _longer(self, name: str, value: torch.Tensor, answer: Sequence[int]) -> torch.Tensor:
        """An input of the prompt's length with the answer behind it, which is no part of the image."""
        if name == "input_ids":
            return torch.cat([value, value.new_tensor([list(answer)])], dim=1)
        fill = {"attention_mask": 1, "token_type_ids": 0, "mm_token_type_ids": 0}.get(name)
        return value if fill is None else torch.cat([value, value.new_full((1, len(answer)), fill)], dim=1)

    def inputs(self, image: Image.Image, prompt: str, max_new_tokens: int) -> tuple[dict[str, torch.Tensor], Any]:
        """The model's inputs for one question about an image, and its features under the projector in place."""
        prepared = self.vision.prepared(image.convert("RGB"))
        if self.vision.plan.question:
            prepared.inputs[self.vision.plan.question] = torch.tensor([self._read(prompt)])
        pixels = self.vision.tensors(prepared)
        features = self.vision.features(prepared)
        rows = _rows(features.pooler_output)
        parts = self.processor
        layout = self.vision.laid_out(prepared)
        place = Place(len(rows), prepared, layout, parts.tokenizer, self._soft, self._marker, parts.settings)
        ids = token_ids(self.family.name, prompt, place, self.template, self.label)
        self._check_room(ids, max_new_tokens)
        input_ids = torch.tensor([ids], device=self.device)
        asked = {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}
        kinds = types(self.family.name, input_ids, self.model.config, place)
        asked |= {name: value for name, value in kinds.items() if name in self._reads}
        return asked | pixels, features

    def _read(self, question: str) -> list[int]:
        """The question as the projector reads it; InvalidInput for one that it has no room for."""
        ids: list[int] = required(self.processor.reader, "what reads the question")(question)["input_ids"]
        if len(ids) > (room := self.model.config.qformer_config.max_position_embeddings):
            raise InvalidInput(
                f"The projector reads the question, too: it makes {len(ids)} tokens of it and has room for {room}."
            )
        return ids

    def _with_features(self, inputs: dict[str, torch.Tensor], features: Any) -> tuple[Any, dict[str, Any]]:
        """What is to answer, and what it is given: the image's features instead of its pixels."""
        if STYLES[self.family.name].crossed:
            return self.model, self._crossed(inputs, features.pooler_output)
        if not STYLES[self.family.name].filled:
            given = {name: value for name, value in inputs.items() if name != "pixel_values"}
            return self.model, given | {"mm_encoder_outputs": {"image": features}}
        ids = inputs["input_ids"]
        embedded = self.model.get_input_embeddings()(ids)
        embedded[ids == image_token(self.model.config)] = _rows(features.pooler_output).to(embedded)
        given = {"input_ids": ids, "inputs_embeds": embedded, "attention_mask": inputs["attention_mask"]}
        language = getattr(self.model, "language_model", None)
        return language if isinstance(language, GenerationMixin) else self.model, given

    def _crossed(self, inputs: dict[str, torch.Tensor], features: torch.Tensor) -> dict[str, Any]:
        """All but the last token of the prompt read already, since generate() would give features at every step."""
        prompted = {name: inputs[name] for name in ("input_ids", "attention_mask", "cross_attention_mask")}
        cache = DynamicCache(config=self.model.config.get_text_config())
        with torch.no_grad():
            self.model(
                **{name: value[:, :-1] for name, value in prompted.items()},
                cross_attention_states=features.flatten(0, -3),  # (tiles, T, d)
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
        return prompted | {"past_key_values": cache}

    def _adjacent(self, name: str) -> bool:
        return name not in self._places.values()

    def _owner(self, name: str) -> tuple[nn.Module, str, str]:
        path, _, leaf = name.rpartition(".")
        owner = self.model.get_submodule(path)
        return owner, "_parameters" if leaf in owner._parameters else "_buffers", leaf

    def _check(self, weights: ProjectorWeights) -> None:
        own = self._held
        shapes = {name: tuple(tensor.shape) for name, tensor in (weights.tensors | weights.adjacent).items()}
        fits = {name: tuple(tensor.shape) for name, tensor in (own.tensors | own.adjacent).items()}
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


def check_asked(family: Family, label: str) -> None:
    """Unsupported, with the reason, for a family whose answers this version cannot take."""
    check_runs(family, label)
    if reason := NO_STYLE.get(family.name):
        raise Unsupported(f"{label} is a {family.title} model, which is not asked: {reason}.")
    if family.name not in STYLES:
        raise Unsupported(f"{label} is a {family.title} model, whose prompts this version does not write.")


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
