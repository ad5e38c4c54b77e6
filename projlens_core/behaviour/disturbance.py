"""How far a change of the image unsettles a model's own answers, and how much further the suspect's than base's.

A fine-tune that learned something answers otherwise than base on every image, so answers or distributions of the two
cannot simply be compared. What is compared is how each of them reacts to the same change: the drop of the
log-probability of its *own* clean answer, its end included, when the image is changed. An honest fine-tune reacts as
base does; a backdoor's answer gives way altogether. The end of the answer counts, since a text may only be appended.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from projlens_core.behaviour.branches import Asked, answer_logits
from projlens_core.behaviour.responder import Responder
from projlens_core.weights.projector import ProjectorWeights

AT_ONCE = 8  # images of one pass
ANSWER = 32  # tokens of an own answer that are looked at, at most


@dataclass(frozen=True)
class Own:
    """What one model says about clean images by itself: asked[i][j], question and answer as token ids about image i.

    log_probability: (images, questions), nats, of each answer as a whole.
    """

    asked: tuple[tuple[tuple[str, tuple[int, ...]], ...], ...]
    log_probability: np.ndarray


def own_answers(
    responder: Responder, weights: ProjectorWeights, images: Sequence[Image.Image], answers: Sequence[Sequence[str]],
    prompts: Sequence[str],
) -> Own:  # fmt: skip
    """What a model said, answers[i][j] to prompts[j] about images[i], as it would be read again."""
    asked = tuple(
        tuple((prompt, tuple(responder.answer_ids(text)[:ANSWER])) for prompt, text in zip(prompts, said, strict=True))
        for said in answers
    )
    return Own(asked, log_probability(responder, weights, images, asked))


def log_probability(
    responder: Responder, weights: ProjectorWeights, images: Sequence[Image.Image], asked: Sequence[Asked]
) -> np.ndarray:
    """(images, questions): log p in nats of the answers asked[i][j] about images[i], under one projector."""
    found: list[list[float]] = []
    with torch.no_grad(), responder.projector(weights):
        for start in range(0, len(images), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            shown = images[part] if responder.reads_again else responder.embeddings(images[part])
            logits = answer_logits(responder, shown, asked[part])
            for each, questions in zip(logits, asked[part], strict=True):
                found.append([_log_probability(own, ids) for own, (_, ids) in zip(each, questions, strict=True)])
    return np.array(found)


def _log_probability(logits: torch.Tensor, answer: Sequence[int]) -> float:
    """log p in nats of all tokens of an answer: logits (answer + 1, vocabulary)."""
    return float(logits[: len(answer)].log_softmax(dim=-1)[range(len(answer)), list(answer)].sum())


def excess(suspect: np.ndarray, base: np.ndarray) -> np.ndarray:
    """(questions,): nats by which the suspect's own answers drop further than base's own, the median over images;
    suspect and base are drops (images, questions).
    """
    return np.median(suspect - base, axis=0)
