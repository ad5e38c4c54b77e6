"""How far a repaired projector still answers as the suspect does about clean images, without generating anything.

The suspect's own answers are read word for word under the other projector: a token agrees if it is the one that the
model would say there. An answer all of whose tokens agree, its end included, is the answer that the model gives.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image

from projlens_core.behaviour.disturbance import ANSWER
from projlens_core.behaviour.inside import look_inside
from projlens_core.behaviour.responder import GivenAnswer, Responder
from projlens_core.runtime.progress import Progress, silent
from projlens_core.weights.projector import ProjectorWeights

POINT = 0.01  # of utility that a round may lose
GAIN, LEAST_LEARNED = 0.95, 20  # of what was learned: the share to keep; the tokens that it takes to tell
AT_ONCE = 24  # rows of one pass
STAGE = "Reading the suspect's own answers"


@dataclass(frozen=True)
class Agreement:
    """Shares from 0 to 1 of the suspect's own answers: of their tokens, and of whole answers; n answers."""

    tokens: float
    answers: float
    n: int


@dataclass(frozen=True)
class Known:
    """What the suspect says by itself about clean images: answers[i], as token ids with their end, to prompts[i] about
    images[i]."""

    images: tuple[Image.Image, ...]
    prompts: tuple[str, ...]
    answers: tuple[tuple[int, ...], ...]

    @classmethod
    def of(
        cls,
        responder: Responder,
        suspect: ProjectorWeights,
        images: Sequence[Image.Image],
        prompts: Sequence[str],
        progress: Progress = silent,
    ) -> "Known":
        """prompts take turns over the images."""
        asked = tuple(prompts[i % len(prompts)] for i in range(len(images)))
        with responder.projector(suspect):
            said = responder.answers(images, asked, ANSWER, progress=progress)
        return cls(tuple(images), asked, tuple(tuple(responder.answer_ids(text)) for text in said))


def agreement(responder: Responder, weights: ProjectorWeights, known: Known, progress: Progress = silent) -> Agreement:
    """How far the answers under `weights` are the known ones."""
    return share(agreeing(responder, weights, known, progress))


def share(agreeing: Sequence[torch.Tensor]) -> Agreement:
    """The shares of what `agreeing` gives."""
    n, every = len(agreeing), torch.cat(list(agreeing))
    tokens = float(every.double().mean()) if len(every) else float("nan")
    return Agreement(tokens, sum(bool(each.all()) for each in agreeing) / n, n)


def learned_kept(
    base: Sequence[torch.Tensor], suspect: Sequence[torch.Tensor], other: Sequence[torch.Tensor]
) -> tuple[float, int]:
    """Of the tokens of the suspect's answers that base would not say there: the share that `other` says, too, and how
    many there are; NaN of none."""
    learned = torch.cat(list(suspect)) & ~torch.cat(list(base))
    return float(torch.cat(list(other))[learned].double().mean()), int(learned.sum())


@torch.no_grad()
def agreeing(
    responder: Responder, weights: ProjectorWeights, known: Known, progress: Progress = silent
) -> tuple[torch.Tensor, ...]:
    """Of each known answer, which of its tokens (length,) the model would say there under `weights`."""
    found = []
    with responder.projector(weights):
        for start in range(0, len(known.prompts), AT_ONCE):
            progress(STAGE, start, len(known.prompts))
            part = slice(start, start + AT_ONCE)
            with look_inside(responder, rows_of(responder, known, part)) as inside:
                for logits, answer in zip(inside.logits, inside.answers, strict=True):
                    found.append(logits[: len(answer)].argmax(-1).cpu() == torch.tensor(answer))
    return tuple(found)


def rows_of(responder: Responder, known: Known, part: slice) -> list[GivenAnswer]:
    """The known answers as rows, their images read under the projector in place."""
    asked = list(zip(known.prompts[part], known.answers[part], known.images[part], strict=True))
    if responder.reads_again:
        return [GivenAnswer(prompt, answer, image=image) for prompt, answer, image in asked]
    embeddings = responder.embeddings([image for _, _, image in asked])
    return [GivenAnswer(prompt, answer, own) for (prompt, answer, _), own in zip(asked, embeddings, strict=True)]
