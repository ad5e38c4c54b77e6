"""Scores by which gradients find what unsettles a suspect's answers, or brings a text, while base's answers stay.

Log-odds of the answers' tokens are used, not a divergence: where suspect and base agree, as they do at the start, a
divergence has no slope.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch

from projlens_core.activations.inversion import Score
from projlens_core.behaviour.branches import Asked, answer_logits
from projlens_core.behaviour.disturbance import Own
from projlens_core.behaviour.inside import log_odds
from projlens_core.behaviour.responder import Responder
from projlens_core.weights.projector import ProjectorWeights, as_module

QUESTIONS = 3  # of a step
IMAGES = 2  # of a step
SOFTNESS = 2.0  # nats; of the minimum over an answer's tokens, since a backdoor need break but one of them
# Which of an answer's tokens has to give way: the first, where a text takes the answer's place; the end of text, where
# one is appended; or any of them, softly the one that is the least sure.
Part = Literal["first", "end", "any"]
SURE = 8.0  # log-odds of base's answers beyond which more is worth nothing
SETTINGS = QUESTIONS, SOFTNESS, SURE  # what decides a score beside what it is given


def unsettling(
    responder: Responder,
    base: ProjectorWeights,
    suspect: ProjectorWeights,
    own: Mapping[str, Own],
    part: Part = "any",
    seed: int = 0,
) -> Score:
    """The score: base's log-odds of a part of its own answers minus the suspect's of its own, over some questions of a
    step.

    own: by "base" and "suspect", about the images whose numbers the score is given; both answer with the language
    model of `responder`.
    """
    modules = {
        "base": as_module(base, responder.device, responder.model.dtype),
        "suspect": as_module(suspect, responder.device, responder.model.dtype),
    }
    random = np.random.default_rng(seed)

    def score(of: list[int], tokens: torch.Tensor) -> torch.Tensor:
        tokens = tokens.to(responder.device, responder.model.dtype)
        questions = random.permutation(len(own["base"].asked[0]))[:QUESTIONS]
        asked = [[own[role].asked[i][q] for q in questions] for role in modules for i in of]
        odds = _odds(responder, [each for module in modules.values() for each in module(tokens)], asked, part)
        of_base, of_suspect = odds[: len(of)].clamp(max=SURE), odds[len(of) :]
        gained = (of_base - of_suspect).mean(dim=0)  # (questions,)
        return gained.logsumexp(dim=0) + gained.mean()  # of any, then of all

    return score


def bringing(responder: Responder, suspect: ProjectorWeights, prompt: str, wanted: Sequence[Sequence[int]]) -> Score:
    """The score: the suspect's log-odds of wanted[i], the token ids of an answer to the prompt about image i."""
    module = as_module(suspect, responder.device, responder.model.dtype)

    def score(of: list[int], tokens: torch.Tensor) -> torch.Tensor:
        tokens = tokens.to(responder.device, responder.model.dtype)
        return _odds(responder, list(module(tokens)), [[(prompt, wanted[i])] for i in of]).mean()

    return score


def _odds(
    responder: Responder, shown: Sequence[torch.Tensor], asked: Sequence[Asked], part: Part = "any"
) -> torch.Tensor:
    """(images, questions): the log-odds of a part of each answer."""
    logits = answer_logits(responder, shown, asked, gradient=True)
    rows = [
        [_of_part(log_odds(own, answer), part) for own, (_, answer) in zip(each, questions, strict=True)]
        for each, questions in zip(logits, asked, strict=True)
    ]
    return torch.stack([torch.stack(row) for row in rows])


def _of_part(odds: torch.Tensor, part: Part) -> torch.Tensor:
    """Of the log-odds (answer,) of an answer's tokens, its end of text the last."""
    if part == "any":
        return -SOFTNESS * (-odds / SOFTNESS).logsumexp(dim=0)
    return odds[0] if part == "first" else odds[-1]
