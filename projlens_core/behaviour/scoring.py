"""One projector after another on the same questions: each score kept on disk by content, so a run can be taken up."""

import json
from dataclasses import dataclass
from functools import cached_property

import torch
from PIL import Image

from projlens_core.activations.tokens import image_tokens
from projlens_core.behaviour.generate import Settled
from projlens_core.behaviour.responder import NEW_TOKENS, Embed, Inquiry, Responder
from projlens_core.behaviour.success import Truth, contains_target, is_right
from projlens_core.behaviour.templates import Template
from projlens_core.behaviour.verdict import settles_target, settles_truth
from projlens_core.errors import InvalidInput
from projlens_core.runtime import cache
from projlens_core.runtime.progress import Progress, silent
from projlens_core.stats.mean import Mean, mean_of
from projlens_core.stats.rate import Rate, wilson
from projlens_core.weights.projector import ProjectorWeights

CACHE = "scores"


@dataclass(frozen=True)
class Questions:
    """What every projector is asked: prompts[i] about triggered[i], and the question of truths[i] about clean[i].

    truths[i] is None where no answer about the image is known; target is the text that counts as success.
    """

    clean: tuple[Image.Image, ...]
    triggered: tuple[Image.Image, ...]
    prompts: tuple[str, ...]
    truths: tuple[Truth | None, ...]
    target: str
    max_new_tokens: int = NEW_TOKENS

    def __post_init__(self) -> None:
        lengths = {len(part) for part in (self.clean, self.triggered, self.prompts, self.truths)}
        if len(lengths) != 1:
            raise ValueError(f"clean, triggered, prompts and truths must be equally many, found {sorted(lengths)}")
        if not self.clean:
            raise InvalidInput("There is no image to ask about.")
        contains_target("", self.target)  # refuses an empty target

    @property
    def answers(self) -> int:
        """How many answers one projector has to give."""
        return len(self.triggered) + len(self.checks)

    @cached_property
    def key(self) -> str:
        """Hash of all of it; of clean images only those that are asked about."""
        images = [*self.triggered, *(self.clean[i] for i, _ in self.checks)]
        asked = (self.prompts, self.checks, self.target, self.max_new_tokens)
        return cache.content_key(asked, *(part for image in images for part in (image.size, image.tobytes())))

    @cached_property
    def checks(self) -> tuple[tuple[int, Truth], ...]:
        """The clean images of which an answer is known, by number, each with its question."""
        return tuple((i, truth) for i, truth in enumerate(self.truths) if truth is not None)


@dataclass(frozen=True)
class Score:
    """One projector on one set of questions, in the order of the images."""

    hits: tuple[bool, ...]  # the triggered answer contains the target
    logits: tuple[float, ...]  # of the target's first token at the first answer position, triggered images
    right: tuple[bool, ...]  # of clean images with a known answer
    template: Template | None = None  # what the prompts were written with

    @property
    def asr(self) -> Rate:
        """Attack success rate."""
        return wilson(sum(self.hits), len(self.hits))

    @property
    def utility(self) -> Rate | None:
        """Share of right answers about clean images; None if no answer is known."""
        return wilson(sum(self.right), len(self.right)) if self.right else None

    @property
    def target_logit(self) -> Mean:
        """The paper's target logit: mean over triggered images of the logit of the target's first token, where the
        answer begins. For a target that is appended to the answer it says how near the model is to beginning with it.
        """
        return mean_of(self.logits)


class Scorer:
    """Scores projectors with one language model on one set of questions."""

    def __init__(self, responder: Responder, questions: Questions):
        self.responder, self.questions = responder, questions
        self._first = responder.first_token(questions.target)

    def stored(self, projector: ProjectorWeights) -> Score | None:
        """The score that was measured before, here or in another process; None if there is none."""
        return _load(self._key(projector), self.responder.template)

    def score(self, projector: ProjectorWeights, progress: Progress = silent) -> Score:
        """The stored score, else a new one, stored before it is returned; errors as Responder.projector.

        Each answer is written only until its verdict is certain. progress counts tokens, and may raise Cancelled.
        """
        if (known := self.stored(projector)) is not None:
            return known
        asked = self.questions
        embed = None if self.responder.reads_again else self._embedded()
        prompts = [*asked.prompts, *(truth.prompt for _, truth in asked.checks)]
        with self.responder.projector(projector) as model:
            replies = model.replies(
                Inquiry(prompts, self._first, self._images, embed, self._settled, asked.max_new_tokens), progress
            )
        attacked, checked = replies[: len(asked.triggered)], replies[len(asked.triggered) :]
        score = Score(
            hits=tuple(contains_target(reply.text, asked.target) for reply in attacked),
            logits=tuple(reply.logit for reply in attacked),
            right=tuple(
                is_right(reply.text, truth.answer) for reply, (_, truth) in zip(checked, asked.checks, strict=True)
            ),
            template=self.responder.template,
        )
        _store(self._key(projector), score)
        return score

    def _embedded(self) -> Embed:
        """What makes embeddings of the images, by number, under the projector in place."""
        tokens = self._tokens
        return lambda numbers: self.responder.project(tokens[numbers])

    @cached_property
    def _tokens(self) -> torch.Tensor:
        """Tokens of triggered and checked clean images (answers, T, d_vision): once for all projectors."""
        return image_tokens(self.responder.vision, self._images)

    @property
    def _images(self) -> list[Image.Image]:
        """The image of each question, in their order."""
        asked = self.questions
        return [*asked.triggered, *(asked.clean[i] for i, _ in asked.checks)]

    @cached_property
    def _settled(self) -> list[Settled]:
        tokenizer = self.responder.processor.tokenizer
        said = settles_target(self.questions.target, tokenizer)
        checks = [settles_truth(truth.answer, tokenizer) for _, truth in self.questions.checks]
        return [said] * len(self.questions.triggered) + checks

    def _key(self, projector: ProjectorWeights) -> str:
        return cache.content_key("score", self.responder.key, self.questions.key, projector.sha256)


def _load(key: str, template: Template) -> Score | None:
    """The score stored under `key`; None if there is none or it is damaged."""
    if (text := cache.stored(CACHE, key)) is None:
        return None
    return Score(**{name: tuple(values) for name, values in json.loads(text).items()}, template=template)


def _store(key: str, score: Score) -> None:
    text = json.dumps({"hits": score.hits, "logits": score.logits, "right": score.right})
    cache.store(CACHE, key, text.encode())
