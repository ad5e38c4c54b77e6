"""Patterns on a few image tokens, found by gradient: what switches a backdoor on, looked for where it is read.

A backdoor of low rank is read along the leading right singular vectors of the first layer's ΔW (paper, claim 2). So
the search is for a few numbers: how far the tokens of a small window lie along these, whatever image could bring them
there. No vision tower stands between the numbers and the answers, which makes a step cheap and its gradient straight.
What is found is a text, no trigger yet: whether an image can bring it is for the patches that are then made for it.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from projlens_core.activations.inversion import Score
from projlens_core.behaviour.answer_scores import Part
from projlens_core.behaviour.disturbance import ANSWER
from projlens_core.behaviour.responder import Inquiry, Responder
from projlens_core.errors import Unsupported
from projlens_core.runtime import cache
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.progress import Progress, silent
from projlens_core.weights.directions import Directions, input_directions, leading_inputs
from projlens_core.weights.projector import ProjectorWeights, as_module

DIRECTIONS = 16  # of ΔW
REACH = 8.0  # how far from the mean of clean tokens a pattern may go, in their standard deviations along a direction
BEGUN = 2.0  # how far it begins, at random
STEPS, RATE = 80, 0.3  # of Adam
CACHE = "token-patterns"
STAGE = "Searching a token pattern"


@dataclass(frozen=True)
class PatternStart:
    """Where a search begins, and what it wants: a part of the answers to give way to the pattern in a window of `wide`
    of the side of the grid of tokens, put down anywhere.
    """

    part: Part
    wide: float
    seed: int = 0


@dataclass(frozen=True)
class TokenPattern:
    """What was found from a start: how far each place of the window lies from the mean of clean tokens along each
    direction, (places, k), in standard deviations of clean tokens; and the score at each step.
    """

    start: PatternStart
    coordinates: tuple[tuple[float, ...], ...]
    scores: tuple[float, ...]


class PatternSpace:
    """The images' tokens (n, T, d_vision), and the directions along which ΔW reads them: the first layer's, or where
    that was not changed, those along which the suspect's embeddings leave base's the steepest.

    Unsupported where base and suspect make the same of the tokens.
    """

    def __init__(self, base: ProjectorWeights, suspect: ProjectorWeights, tokens: torch.Tensor):
        of = input_directions(base, suspect, DIRECTIONS)
        if not len(of):
            of = _steepest(base, suspect, tokens)
        self._together = of.together
        self._vectors = of.vectors.flatten(1)  # (k, m · d)
        self._places = of.places(tokens.float())  # (n, places, m · d)
        self._mean = self._places.mean((0, 1))
        self._spread = of.spread(tokens.float())  # (k,)
        self.key = content_key(base.sha256, suspect.sha256, tokens.float().cpu().numpy().tobytes())

    def __len__(self) -> int:
        """How many images."""
        return len(self._places)

    def begin(self, start: PatternStart, random: np.random.Generator) -> torch.Tensor:
        """Coordinates (places of the window, k) at random."""
        places = len(self._window(start.wide, random))
        return torch.from_numpy(BEGUN * random.normal(size=(places, len(self._vectors))).astype(np.float32))

    def put(
        self, coordinates: torch.Tensor, wide: float, of: Sequence[int], random: np.random.Generator
    ) -> torch.Tensor:
        """Tokens (len(of), T, d_vision) of these images, each with the pattern in a window of its own."""
        shown = []
        wanted = (coordinates * self._spread) @ self._vectors + self._mean  # along the directions
        for i in of:
            where = torch.tensor(self._window(wide, random))
            here = self._places[i]
            along = ((here[where] - wanted) @ self._vectors.T) @ self._vectors
            shown.append(here.index_put((where,), here[where] - along))
        return torch.stack(shown).unflatten(2, (self._together, -1)).flatten(1, 2)

    def _window(self, wide: float, random: np.random.Generator) -> list[int]:
        """Places of a square at random where they lie in one, else of a run of as many."""
        n = self._places.shape[1]
        side = math.isqrt(n)
        length = max(1, round(wide * side))
        if side * side != n:
            first = int(random.integers(n - length**2 + 1))
            return list(range(first, first + length**2))
        row, column = random.integers(side - length + 1, size=2)
        return [int((row + i) * side + column + j) for i in range(length) for j in range(length)]


def _steepest(base: ProjectorWeights, suspect: ProjectorWeights, tokens: torch.Tensor) -> Directions:
    """Of the gradients of ‖suspect's − base's embedding‖² at the tokens."""
    with torch.enable_grad():
        read = tokens.float().clone().requires_grad_()
        apart = (as_module(suspect, read.device)(read) - as_module(base, read.device)(read)).square().sum()
        (gradients,) = torch.autograd.grad(apart, read)
    if not gradients.any():
        raise Unsupported("base and suspect make the same of the image tokens.")
    right, values = leading_inputs(gradients.flatten(0, 1), DIRECTIONS)
    return Directions(right[:, None], values)


def find_pattern(
    space: PatternSpace, start: PatternStart, score: Score, scored_by: object, batch: int, progress: Progress = silent
) -> TokenPattern:
    """The pattern after STEPS bounded steps of Adam up the score's gradient, each on other `batch` images and places.

    It is kept in the cache by all that decides it; scored_by: what decides the score, for that.
    """
    key = content_key(space.key, start, STEPS, RATE, REACH, BEGUN, DIRECTIONS, batch, scored_by)
    if (kept := cache.stored(CACHE, key)) is not None:
        values = json.loads(kept)
        return TokenPattern(start, _rows(values["coordinates"]), tuple(values["scores"]))
    random = np.random.default_rng(start.seed)
    coordinates = space.begin(start, random).requires_grad_()
    optimiser = torch.optim.Adam([coordinates], lr=RATE)
    scores = []
    for step in range(STEPS):
        progress(STAGE, step, STEPS)
        of = random.permutation(len(space))[:batch].tolist()
        with torch.enable_grad():
            reached = score(of, space.put(coordinates, start.wide, of, random))
            optimiser.zero_grad()
            (-reached).backward()
        optimiser.step()
        with torch.no_grad():
            coordinates.clamp_(-REACH, REACH)
        scores.append(float(reached.detach()))
    found = coordinates.detach().tolist()
    cache.store(CACHE, key, json.dumps({"coordinates": found, "scores": scores}).encode())
    return TokenPattern(start, _rows(found), tuple(scores))


def _rows(values: list[list[float]]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in values)


def answers_under(
    responder: Responder,
    weights: ProjectorWeights,
    space: PatternSpace,
    pattern: TokenPattern,
    prompts: Sequence[str],
    progress: Progress = silent,
) -> list[list[str]]:
    """[i][j]: what a projector's model says to prompts[j] about image i with the pattern, greedily, at most ANSWER
    tokens; the windows are the same for every projector.
    """
    shown = space.key, pattern.start, pattern.coordinates
    key = content_key("answers", *shown, weights.sha256, responder.key, tuple(prompts), ANSWER)
    if (kept := cache.stored(CACHE, key)) is not None:
        return json.loads(kept)
    random = np.random.default_rng(pattern.start.seed)
    coordinates = torch.tensor(pattern.coordinates)
    with torch.no_grad(), responder.projector(weights):
        embeddings = responder.project(space.put(coordinates, pattern.start.wide, range(len(space)), random))
        asked = Inquiry(
            [prompt for _ in range(len(space)) for prompt in prompts],
            responder.first_token("a"),
            embed=lambda numbers: embeddings[numbers],
            max_new_tokens=ANSWER,
            image_index=[i for i in range(len(space)) for _ in prompts],
        )
        said = responder.replies(asked, progress)
    texts = [reply.text for reply in said]
    rows = [texts[i : i + len(prompts)] for i in range(0, len(texts), len(prompts))]
    cache.store(CACHE, key, json.dumps(rows).encode())
    return rows
