"""Answers of llava models: the projectors take turns as a module, and many questions are answered in one batch."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from PIL import Image
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from projlens_core.activations.model import VisionModel
from projlens_core.behaviour.chat import chat, check_placed, check_question
from projlens_core.behaviour.generate import STAGE, Heard, listening
from projlens_core.behaviour.greedy import Asked, embedded, greedy, padded, positions
from projlens_core.behaviour.responder import GivenAnswer, Inquiry, Read, Reply, Responder
from projlens_core.behaviour.templates import Template
from projlens_core.errors import InvalidInput
from projlens_core.runtime.progress import Progress, silent
from projlens_core.runtime.required import required
from projlens_core.weights.projector import ProjectorWeights, as_module

FEWEST, MOST = 8, 128  # answers decoded together: each token of theirs takes one pass over all weights
CACHE_BYTES = 4 * 2**30  # their keys and values may take, if that is enough for the fewest


class LlavaResponder(Responder):
    """A whole llava model that answers in batches; the embeddings of an image lie in one row in its prompt."""

    model: LlavaForConditionalGeneration
    processor: LlavaProcessor
    vision: VisionModel

    def __init__(
        self,
        model: LlavaForConditionalGeneration,
        processor: LlavaProcessor,
        template: Template,
        label: str,
        device: torch.device,
    ):
        vision = VisionModel(model.model.vision_tower, processor.image_processor, model.config, label, device)
        super().__init__(model, processor, vision, template, label, device)
        self._width: int = model.config.get_text_config().hidden_size

    @contextmanager
    def projector(self, weights: ProjectorWeights) -> Iterator["LlavaResponder"]:
        """See Responder."""
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

    def project(self, tokens: torch.Tensor) -> torch.Tensor:
        """See Responder."""
        with torch.no_grad(), self._lock:
            return self.model.model.multi_modal_projector(tokens.to(self.device, self.model.dtype))

    def under_each(
        self,
        projectors: Sequence[ProjectorWeights],
        images: Sequence[Image.Image],
        prompt: str,
        max_new_tokens: int,
        progress: Progress,
        heard: Heard | None = None,
    ) -> list[str]:
        """See Responder; all of them in one batch."""
        rows = []
        for weights in projectors:
            with self.projector(weights):
                rows.append(self.embeddings(images, progress))
        stacked = torch.cat(rows)
        asked = Inquiry(
            [prompt] * len(stacked),
            self._pad,
            embed=lambda numbers: stacked[numbers],
            settled=listening(heard, len(stacked)) if heard else None,
            max_new_tokens=max_new_tokens,
        )
        return [reply.text for reply in self.replies(asked, progress)]

    def replies(self, asked: Inquiry, progress: Progress = silent) -> list[Reply]:
        """See Responder; images are needed only without embed."""
        images, prompts, max_new_tokens = asked.images, asked.prompts, asked.max_new_tokens
        embed = asked.embed or (lambda numbers: self.embeddings([required(images, "an image")[i] for i in numbers]))
        image_index = range(len(prompts)) if asked.image_index is None else asked.image_index
        tokens = self.vision.tokens
        ids = {prompt: self.token_ids(prompt, tokens, max_new_tokens) for prompt in set(prompts)}
        # questions about one image go together, so that it is read once; then those of equal length: less padding
        order = sorted(range(len(prompts)), key=lambda i: (image_index[i], len(ids[prompts[i]])))
        replies: dict[int, Reply] = {}
        total = len(prompts) * max_new_tokens
        batch_size = asked.batch_size or self._together(max(map(len, ids.values()), default=0) + max_new_tokens)

        def is_settled(rows: Sequence[int], row: int, said: list[int]) -> bool:
            settled = asked.settled
            return settled is not None and settled[rows[row]](self._text(said), max_new_tokens - len(said))

        def on_token(before: int, rows: int, step: int) -> None:
            progress(STAGE, before + step * rows, total)

        with self._lock:  # held for the whole run, or another thread could change the projector between two batches
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                seen = list(dict.fromkeys(image_index[i] for i in rows))
                written = greedy(
                    self.model,
                    [Asked(ids[prompts[i]], image_index[i]) for i in rows],
                    dict(zip(seen, embed(seen), strict=True)),
                    token=asked.token,
                    eos=self._eos,
                    max_new_tokens=max_new_tokens,
                    settled=partial(is_settled, rows),
                    on_token=partial(on_token, start * max_new_tokens, len(rows)),
                )
                for i, answer in zip(rows, written, strict=True):
                    replies[i] = Reply(self._text(answer.ids).strip(), answer.logit)
                progress(STAGE, (start + len(rows)) * max_new_tokens, total)
        return [replies[i] for i in range(len(prompts))]

    def _together(self, length: int) -> int:
        """How many answers are decoded together, of this length with their prompts: each step reads all weights once,
        so more are cheaper, as long as their keys and values take little memory.
        """
        text = self.model.config.get_text_config()
        heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
        width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        each = 2 * text.num_hidden_layers * heads * width * length * self.model.dtype.itemsize
        return max(FEWEST, min(MOST, CACHE_BYTES // each))

    def _adjacent(self, name: str) -> bool:
        return ".multi_modal_projector." not in name and ".vision_tower." not in name

    @contextmanager
    def reading(self, attention: bool) -> Iterator[Read]:
        """See Responder; rows need embeddings, all are read in one batch."""
        with self._lock, _eager(self.model, attention):
            yield partial(self._read, attention=attention)

    def _read(
        self, rows: Sequence[GivenAnswer], attention: bool
    ) -> tuple[list[torch.Tensor], list[torch.Tensor], dict[int, torch.Tensor]]:
        images = [required(row.embeddings, "a row's image embeddings") for row in rows]
        ids = [
            [*self.token_ids(row.prompt, len(image), len(row.answer)), *row.answer]
            for row, image in zip(rows, images, strict=True)
        ]
        prompts = [embedded(self.model, own, image) for own, image in zip(ids, images, strict=True)]
        embeds, mask = padded(prompts)
        seen = self.model.model(
            inputs_embeds=embeds,
            attention_mask=mask,
            position_ids=positions(mask),
            use_cache=False,
            output_attentions=attention,
        )
        states = seen.last_hidden_state  # (rows, longest, d)
        logits = [self.model.lm_head(own[-len(row.answer) - 1 :]) for own, row in zip(states, rows, strict=True)]
        placeholder = self.model.config.image_token_id
        places = [torch.tensor(own, device=self.device) == placeholder for own in ids]
        maps = dict(enumerate(seen.attentions)) if attention else {}
        return logits, places, maps | {layer - len(maps): each for layer, each in maps.items()}

    def token_ids(self, question: str, tokens: int, max_new_tokens: int) -> list[int]:
        """The chat prompt as token ids, with `tokens` placeholders where the image goes."""
        marker = self.processor.image_token
        check_question(question, marker)
        tokenizer = self.processor.tokenizer
        text = chat(question, marker, tokenizer, self.template, self.label)
        begun = tokenizer.bos_token is not None and text.startswith(tokenizer.bos_token)
        ids: list[int] = tokenizer(text.replace(marker, marker * tokens), add_special_tokens=not begun)["input_ids"]
        check_placed(ids.count(self.model.config.image_token_id), tokens, self.label)
        self._check_room(ids, max_new_tokens)
        return ids


@contextmanager
def _eager(model: LlavaForConditionalGeneration, wanted: bool) -> Iterator[None]:
    """Attention computed so that it can be looked at, inside the block; fast kernels do not give it."""
    config = model.config.get_text_config()
    before = config._attn_implementation
    if wanted:
        config._attn_implementation = "eager"
    try:
        yield
    finally:
        config._attn_implementation = before
