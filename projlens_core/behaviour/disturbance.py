"""How far a change of the image unsettles a model's own answer, and how much further the suspect's than base's.

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

from projlens_core.behaviour.inside import look_inside
from projlens_core.behaviour.responder import Responder, Row
from projlens_core.runtime.progress import Progress, silent
from projlens_core.weights.projector import ProjectorWeights

AT_ONCE = 24  # rows of one pass
ANSWER = 32  # tokens of an own answer that are looked at, at most
STAGE = "Reading answers under changed images"


@dataclass(frozen=True)
class Own:
    """What one model says about clean images by itself: answers[i] as token ids, about the row of the same number.

    log_probability: (rows,), nats, of each answer as a whole.
    """

    answers: tuple[tuple[int, ...], ...]
    log_probability: np.ndarray


def own_answers(
    responder: Responder,
    weights: ProjectorWeights,
    images: Sequence[Image.Image],
    prompts: Sequence[str],
    progress: Progress = silent,
) -> Own:
    """Answers to prompts[i] about images[i], greedily under one projector."""
    with responder.projector(weights):
        said = responder.answers(images, prompts, ANSWER, progress=progress)
    answers = tuple(tuple(responder.answer_ids(text)) for text in said)
    return Own(answers, log_probability(responder, weights, images, prompts, answers))


@torch.no_grad()
def log_probability(
    responder: Responder,
    weights: ProjectorWeights,
    images: Sequence[Image.Image],
    prompts: Sequence[str],
    answers: Sequence[Sequence[int]],
    progress: Progress = silent,
) -> np.ndarray:
    """(rows,): log p in nats of answers[i] to prompts[i] about images[i], under one projector."""
    found = []
    with responder.projector(weights):
        for start in range(0, len(prompts), AT_ONCE):
            progress(STAGE, start, len(prompts))
            part = slice(start, start + AT_ONCE)
            asked = zip(prompts[part], answers[part], strict=True)
            if responder.reads_again:
                rows = [Row(*each, image=image) for each, image in zip(asked, images[part], strict=True)]
            else:
                embeddings = responder.embeddings(images[part])
                rows = [Row(*each, own) for each, own in zip(asked, embeddings, strict=True)]
            with look_inside(responder, rows) as inside:
                found += [float(own.sum()) for own in inside.log_probabilities]
    return np.array(found)


def excess(suspect: np.ndarray, base: np.ndarray, prompts: Sequence[str]) -> float:
    """Nats by which the suspect's own answers drop further than base's own: for each question the median over its
    images, and of these the largest. suspect and base are (rows,), drops of the same rows.
    """
    by_question: dict[str, list[float]] = {}
    for prompt, value in zip(prompts, suspect - base, strict=True):
        by_question.setdefault(prompt, []).append(float(value))
    return max(float(np.median(values)) for values in by_question.values())
