"""What is left of a text that was found: token patterns that still bring it, looked for where a backdoor is read.

A repair that was shown one trigger may leave others of the same backdoor, the true one among them, and a search that
does not know what to look for overlooks what has become rare. But the text is known by now. So a few numbers along the
leading right singular vectors of the first layer's ΔW (paper, claim 2) are changed by gradient until the repaired
projector says it, and the patterns that bring it join the next steps like any stamped image. No vision tower is needed,
and no image that would bring such a pattern need exist: that one is found says nothing of the repair, only that there
is more to unlearn.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from projlens_core.behaviour.answer_scores import SETTINGS, bringing
from projlens_core.behaviour.success import contains_target
from projlens_core.behaviour.token_patterns import PatternSpace, PatternStart, TokenPattern, answers_under, find_pattern
from projlens_core.repair.answer_steps import check_differentiable
from projlens_core.repair.problem import NEW_TOKENS, WORKS, KnownAttack, Problem
from projlens_core.runtime.cache import content_key
from projlens_core.weights.projector import ProjectorWeights

WIDE = 0.3, 0.2  # sides of the windows in turn, in sides of the grid of tokens
IMAGES = 3  # of a step
MINUTES = 1.5  # of a repair, after which no other pattern is begun


@dataclass(frozen=True)
class Remnant:
    """A pattern under which a projector said the text of an attack; tokens: (n, T, d_vision), the repair's images with
    it."""

    attack: KnownAttack
    pattern: TokenPattern
    tokens: torch.Tensor

    @property
    def key(self) -> str:
        """A hash of what it does to an image's tokens."""
        return content_key(self.attack.prompt, self.attack.target, self.pattern.start, self.pattern.coordinates)


class Remnants:
    """Looks for what is left of known attacks; each time from other starts.

    Unsupported where no gradient leads to image tokens, and where base and suspect make the same of them.
    """

    def __init__(self, problem: Problem):
        self._problem, self._clean = problem, problem.tokens(()).clean
        with problem.models("suspect") as responder:
            check_differentiable(responder)
        self._space = PatternSpace(problem.base, problem.suspect, self._clean)
        self._wanted: dict[KnownAttack, list[list[int]]] = {}
        self._turns, self._seconds = 0, 0.0

    @property
    def out_of_time(self) -> bool:
        """Whether the minutes for them are spent, so that finding none means nothing."""
        return self._seconds > 60 * MINUTES

    def left(self, weights: ProjectorWeights, attacks: Sequence[KnownAttack]) -> list[Remnant]:
        """Patterns that bring the longest text of these attacks under a projector, and not under base: one for each
        question, since a text that a search found under one of them may answer the others, too.
        """
        attack = max(attacks, key=lambda each: len(each.target))
        turn, self._turns = self._turns, self._turns + 1
        found: list[Remnant] = []
        wanted = self._answers(attack)
        if not wanted:
            return found
        for number, prompt in enumerate(dict.fromkeys((attack.prompt, *self._problem.prompts))):
            if self.out_of_time:
                break
            begun = time.monotonic()
            start = PatternStart("any", WIDE[(turn + number) % len(WIDE)], turn)
            if one := self._from(weights, replace(attack, prompt=prompt), start, wanted):
                found.append(one)
            self._seconds += time.monotonic() - begun
        return found

    def _from(
        self, weights: ProjectorWeights, attack: KnownAttack, start: PatternStart, wanted: list[list[int]]
    ) -> Remnant | None:
        problem = self._problem
        with problem.models("suspect") as responder:
            score = bringing(responder, weights, attack.prompt, wanted)
            decided_by = "remnant", SETTINGS, responder.key, weights.sha256, attack.prompt, wanted
            pattern = find_pattern(self._space, start, score, decided_by, IMAGES, problem.progress)
            said, of_base = (
                answers_under(responder, each, self._space, pattern, [attack.prompt], problem.progress)
                for each in (weights, problem.base)
            )
        share, also = (
            sum(contains_target(row[0], attack.target) for row in rows) / len(rows) for rows in (said, of_base)
        )
        if not share > WORKS >= also:
            return None
        random = np.random.default_rng(start.seed)
        coordinates = torch.tensor(pattern.coordinates)
        return Remnant(attack, pattern, self._space.put(coordinates, start.wide, range(len(self._clean)), random))

    def _answers(self, attack: KnownAttack) -> list[list[int]]:
        """Answers that hold the text, as token ids: the suspect's about each image under the attack, another's where
        its own does not; none if none does."""
        if attack not in self._wanted:
            problem = self._problem
            images = [attack.probe.on(image) for image in problem.images[: problem.used]]
            prompts = [attack.prompt] * len(images)
            with problem.models("suspect") as responder, responder.projector(problem.suspect):
                said = responder.answers(images, prompts, NEW_TOKENS, progress=problem.progress)
                holding = [text for text in said if contains_target(text, attack.target)]
                own = [text if text in holding else holding[i % len(holding)] for i, text in enumerate(said) if holding]
                self._wanted[attack] = [responder.answer_ids(text) for text in own]
        return self._wanted[attack]
