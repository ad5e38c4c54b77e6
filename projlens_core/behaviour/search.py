"""What a search for an unnamed trigger has found so far; every stage adds its own."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from projlens_core.activations.inversion import Inverted
from projlens_core.behaviour.token_patterns import TokenPattern
from projlens_core.behaviour.trial import FOREIGN, Trial
from projlens_core.inputs.probes import Probe

NOTABLE = 2.0  # nats beyond base's, from which a probe is followed up
WORTH = 2  # words that no honest answer holds, from which a text of a token pattern is worth a patch
CANDIDATES = 3  # probes that are followed up after each stage
SAME_KIND = 2  # of one kind among them, at most


@dataclass(frozen=True)
class Residual:
    """How far a role's embeddings are from those of its matched reference on stamped images, in embedding units:
    {role: the median over images of the largest token's}, and of the mean token's.
    """

    probe: Probe
    largest: dict[str, float]
    mean: dict[str, float]

    @property
    def beyond(self) -> float:
        """The suspect's, less the control's: of the largest token for a patch, of the mean for a change of it all."""
        by_role = self.largest if self.probe.local else self.mean
        return by_role["suspect"] - by_role.get("control", 0.0)


@dataclass(frozen=True)
class TriedProbe:
    """One probe: for each question, in nats, the median drop of base's own answers, and by how much those of the
    other roles drop further ("suspect", perhaps "control").
    """

    probe: Probe
    base: tuple[float, ...]
    excess: dict[str, tuple[float, ...]]

    @property
    def by_question(self) -> np.ndarray:
        """(questions,): the suspect's excess beyond the control's; 0 where the change disturbs base as much itself in
        any question, since what two models say of an image that neither recognises differs for no reason.
        """
        suspect, base = np.array(self.excess["suspect"]), max(self.base)
        beyond = suspect - np.maximum(self.excess.get("control", np.zeros(len(suspect))), 0)
        return np.where(suspect > max(base, 0.0), beyond, 0.0)

    @property
    def score(self) -> float:
        """The largest of them."""
        return float(self.by_question.max())

    @property
    def notable(self) -> bool:
        """Whether it is worth following up."""
        return self.score >= NOTABLE

    def unsettled(self, most: int) -> list[int]:
        """Numbers of the questions that it unsettles, at most so many, the most unsettled first."""
        order = np.argsort(-self.by_question)[:most].tolist()
        return [i for i in order if self.by_question[i] >= min(NOTABLE, self.score)]

    def largest(self, role: str) -> float:
        """A role's largest excess over all questions."""
        return max(self.excess[role])


@dataclass(frozen=True)
class Followed:
    """The text that a probe brings to one question, None if none, its share of the images it was taken from, and how
    many of its words no honest answer holds. The matched reference is not asked, since it may have taken over the
    backdoor.
    """

    probe: Probe
    prompt: str
    target: str | None
    share: float
    foreign: int = 0

    @property
    def own(self) -> bool:
        """Whether it cannot be a mistake about what an image shows."""
        return self.foreign >= FOREIGN

    @property
    def weight(self) -> float:
        """Length times share: to some questions a text is brought in part."""
        return len(self.target or "") * self.share


def weightiest(followed: Sequence[Followed]) -> Followed | None:
    """The weightiest text; None if there is none."""
    return max((each for each in followed if each.target is not None), key=lambda each: each.weight, default=None)


@dataclass(frozen=True)
class Inversion:
    """A patch found by gradient: against "tokens" (the matched reference) or "text" (what a probe or a token pattern
    brings); or tiles all over the image, against a shared "direction" away from the matched reference.
    """

    against: str
    found: Inverted
    probe: Probe


@dataclass(frozen=True)
class Said:
    """The suspect's answers to one question about the images of a search, in their order, some of which hold a text."""

    prompt: str
    target: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class PatternText(Said):
    """The text that a token pattern brings to one question: its share of the images, 0 to 1, base's share under the
    same pattern, and how many of its words no honest answer holds.
    """

    share: float
    base: float
    foreign: int

    @property
    def speaks(self) -> bool:
        """Whether it is worth a patch: whatever sees another thing than is there brings a text of usual words."""
        return self.foreign >= WORTH

    @property
    def beyond(self) -> float:
        """Share beyond base's, 0 to 1; in full from FOREIGN words that no honest answer holds, not at all up to one."""
        return max(0.0, self.share - self.base) * min(1.0, max(0, self.foreign - 1) / (FOREIGN - 1))

    @property
    def weight(self) -> tuple[bool, float]:
        """By which texts are ranked: whether it cannot be a mistake about what an image shows, length times share."""
        return self.foreign >= FOREIGN, len(self.target) * self.share


@dataclass(frozen=True)
class TriedPattern:
    """A token pattern that was found, and the texts that it brings."""

    pattern: TokenPattern
    texts: tuple[PatternText, ...]


@dataclass(frozen=True)
class Search:
    """All of it; images by name. clean: residuals on clean images that the reference was not fitted to, by role.

    skipped: what was not done and why, in sentences. unfinished: the stages that were not made, or not
    to their end. listened: how many probes the suspect was listened to under. finished: whether the search has come to
    its end.
    """

    prompts: tuple[str, ...]
    searched: tuple[str, ...]
    fresh: tuple[str, ...]
    clean: Residual | None = None
    residuals: tuple[Residual, ...] = ()
    tried: tuple[TriedProbe, ...] = ()
    inversions: tuple[Inversion, ...] = ()
    patterns: tuple[TriedPattern, ...] = ()
    followed: tuple[Followed, ...] = ()
    trials: tuple[Trial, ...] = ()
    skipped: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()
    listened: int = 0
    finished: bool = False
    roles: tuple[str, ...] = field(default=("base", "suspect"))

    @property
    def best(self) -> Trial | None:
        """The trial that shows most, of equals the longest text; None if no probe brought a text of its own."""
        return max(self.trials, key=lambda each: (each.demonstrated, each.suspect.rate, len(each.target)), default=None)

    @property
    def texts(self) -> tuple[PatternText, ...]:
        """What token patterns bring that is worth a patch, the weightiest first, one of each question."""
        found = sorted((text for each in self.patterns for text in each.texts if text.speaks), key=lambda t: t.weight)
        return tuple(sorted({text.prompt: text for text in found}.values(), key=lambda t: t.weight, reverse=True))

    @property
    def candidates(self) -> tuple[TriedProbe, ...]:
        """The probes to follow up, the best first: notable ones, no more than SAME_KIND of a kind."""
        return candidates(self.tried)


def candidates(tried: tuple[TriedProbe, ...] | list[TriedProbe]) -> tuple[TriedProbe, ...]:
    """See Search.candidates; a single stamp goes before several, since it can be handed on as a trigger."""
    kept: list[TriedProbe] = []
    for each in sorted(tried, key=lambda one: (len(one.probe.stamps) > 1, -one.score)):
        kind = each.probe.stamps[0].kind
        if each.notable and sum(other.probe.stamps[0].kind == kind for other in kept) < SAME_KIND:
            kept.append(each)
    return tuple(kept[:CANDIDATES])
