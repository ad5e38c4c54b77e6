"""A score for patches by gradient: what unsettles the suspect's own answers, and leaves base's as they are.

Log-odds of the answers' tokens are used, not a divergence: where suspect and base agree, as they do at the start, a
divergence has no slope.
"""

from collections.abc import Sequence

import numpy as np
import torch

from projlens_core.activations.inversion import Score
from projlens_core.behaviour.branches import answer_logits
from projlens_core.behaviour.disturbance import Own
from projlens_core.behaviour.inside import log_odds
from projlens_core.behaviour.responder import Responder
from projlens_core.weights.projector import ProjectorWeights, as_module

QUESTIONS = 3  # of a step
IMAGES = 2  # of a step
SOFTNESS = 2.0  # nats; of the minimum over an answer's tokens, since a backdoor need break but one of them
SURE = 8.0  # log-odds of base's answers beyond which more is worth nothing


def unsettling(
    responder: Responder, base: ProjectorWeights, suspect: ProjectorWeights, own: dict[str, Own], seed: int = 0
) -> Score:
    """The score: base's log-odds of its own answers minus the suspect's of its own, over some questions of a step.

    own: by "base" and "suspect", about the canvas's images; both answer with the language model of `responder`.
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
        shown = [each for module in modules.values() for each in module(tokens)]
        logits = answer_logits(responder, shown, asked, gradient=True)
        odds = torch.stack([_weakest(each, questions) for each, questions in zip(logits, asked, strict=True)])
        of_base, of_suspect = odds[: len(of)].clamp(max=SURE), odds[len(of) :]
        gained = (of_base - of_suspect).mean(dim=0)  # (questions,)
        return gained.logsumexp(dim=0) + gained.mean()  # of any, then of all

    return score


def _weakest(logits: Sequence[torch.Tensor], asked: Sequence[tuple[str, Sequence[int]]]) -> torch.Tensor:
    """(questions,): the smallest log-odds of each answer's tokens, softly."""
    weakest = [
        -SOFTNESS * (-log_odds(own, answer) / SOFTNESS).logsumexp(dim=0)
        for own, (_, answer) in zip(logits, asked, strict=True)
    ]
    return torch.stack(weakest)
