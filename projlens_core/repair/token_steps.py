"""The repair proper: steps on image tokens alone, without a language model, a trigger or a target.

On clean images the embeddings stay the suspect's. Wherever tokens look unlike a clean image's they are pulled to what
base makes of them, plus the honest shift: what the suspect does beyond base to the same place of the clean image. Two
kinds of such tokens are tried. *Stamped*: the images with generic triggers on them; places count by how far the
suspect's embedding lies from that goal, so that a patch of four tokens is not lost among hundreds. *Directions*: clean
tokens moved along the leading right singular vectors of the first layer's ΔW, all tokens or a window of them, further
than clean tokens vary there: a backdoor of low rank has to be read along these (paper, claim 2), whatever its trigger
looks like. What the fine-tune honestly learned is read along them, too, so that this pull has a weight of its own.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from projlens_core.repair.form import Form
from projlens_core.repair.trainable import Trainable
from projlens_core.runtime.progress import Progress, silent
from projlens_core.weights.directions import input_directions
from projlens_core.weights.projector import ProjectorWeights, as_module

STAGE = "Repairing the projector"
STEPS, RATE = 240, 0.1  # the rate is a share of the fine-tune's own changes, see Trainable.groups
PLACES = 1200  # tokens in one step, clean ones and as many moved, and twice as many stamped
DIRECTIONS = 16  # of ΔW, at most
REACH = 8.0  # how far a token is moved at most, in standard deviations of clean tokens along the direction
FAR = 2  # directions along which a moved image goes far
MOST = 20.0  # times the mean that a place may count


@dataclass(frozen=True)
class Tokens:
    """What the projector reads of the images of a repair: clean (n, T, d_vision), stamped by probe in the same order,
    and more clean images (k, T, d_vision) whose embeddings are to be kept. The tokens are those of base's tower, which
    base and suspect read alike."""

    clean: torch.Tensor
    stamped: Mapping[str, torch.Tensor]
    more: torch.Tensor | None = None

    @property
    def all_clean(self) -> torch.Tensor:
        """All clean images' tokens."""
        return self.clean if self.more is None else torch.cat([self.clean, self.more])


@dataclass(frozen=True)
class Pull:
    """How hard, and where, tokens are pulled to base.

    strength: how much the pull counts beside what is to be kept. along: how much moved tokens count beside stamped
    ones, which both begin equally far from their goal. near: how far a moved image goes along all directions, beyond:
    how far at least along the few in which it goes far, in standard deviations of clean tokens. What a fine-tune
    honestly learned is read along the same directions within the reach of clean images; near 0 and beyond 3 spare it.
    """

    strength: float = 1.0
    along: float = 50.0
    near: float = 1.5
    beyond: float = 0.0


@dataclass(frozen=True)
class TokenFit:
    """How well it went: mean squared distances over the mean square of clean embeddings.

    clean: from the suspect's own on clean images. goal_before, goal: from the goal on stamped images, of the suspect
    and now. directions: how many of ΔW were tried, 0 where the first layer is none that reads tokens directly.
    """

    clean: float
    goal_before: float
    goal: float
    directions: int


def repair_tokens(
    form: Form,
    base: ProjectorWeights,
    suspect: ProjectorWeights,
    tokens: Tokens,
    *,
    steps: int = STEPS,
    pull: Pull = Pull(),
    seed: int = 0,
    progress: Progress = silent,
    start: ProjectorWeights | None = None,
) -> ProjectorWeights:
    """The suspect, or `start`, after `steps` of Adam, as its form stores it. The same seed gives the same on one
    machine."""
    generator = torch.Generator().manual_seed(seed)
    goal = _Goal(base, suspect, tokens)
    directions = _Directions(base, suspect, tokens.clean)
    trained = Trainable(form, start or suspect)
    optimiser = torch.optim.Adam(trained.groups(base, RATE))
    first: float | None = None  # how far moved tokens were from their goal at first
    images = max(1, PLACES // tokens.clean.shape[1])  # of each kind, in one step
    for step in range(steps):
        progress(STAGE, step, steps)
        for group in optimiser.param_groups:  # ten steps up, then down along half a cosine
            group["lr"] = group["highest"] * min(1.0, (step + 1) / 10) * 0.5 * (1 + math.cos(math.pi * step / steps))
        read, keep = goal.kept(_drawn(goal.images, images, generator))
        now = trained.tensors
        loss = (trained(read, now) - keep).pow(2).mean()
        if len(goal.stamped_tokens):
            some = _drawn(len(goal.stamped_tokens), 2 * images, generator)
            read = goal.stamped_tokens[some]
            away = (trained(read, now) - goal.of(read, some % len(goal.clean_tokens))).pow(2).mean(-1)
            loss = loss + pull.strength * (away * goal.counts[some]).mean()
        if len(directions):
            which = _drawn(len(goal.clean_tokens), images, generator)
            away = _away(trained, now, goal, directions, which, pull, generator)
            first = float(away.detach()) if first is None else first
            loss = loss + pull.strength * pull.along * goal.away / max(first, 1e-12) * away
        optimiser.zero_grad()
        (loss / goal.scale).backward()
        optimiser.step()
    progress(STAGE, steps, steps)
    return form.weights(trained.values(), suspect)


def _away(
    trained: Trainable,
    tensors: dict[str, torch.Tensor],
    goal: "_Goal",
    directions: "_Directions",
    which: torch.Tensor,
    pull: Pull,
    generator: torch.Generator,
) -> torch.Tensor:
    """Mean squared distance of moved tokens' embeddings from their goal, over the places that were moved."""
    moved, where = directions.moved(goal.clean_tokens[which], pull, generator)
    away = (trained(moved, tensors) - goal.of(moved, which)).pow(2).mean(-1)
    where = where if where.shape == away.shape else torch.ones_like(away)  # places may be merged or resampled
    return (away * where).sum() / where.sum()


def token_fit(
    base: ProjectorWeights, suspect: ProjectorWeights, tokens: Tokens, repaired: ProjectorWeights
) -> TokenFit:
    """How near a projector came to what token steps aim at."""
    return _Goal(base, suspect, tokens).fit(repaired, len(_Directions(base, suspect, tokens.clean)))


class _Goal:
    """What embeddings should be: on clean images the suspect's, elsewhere base's with the honest shift.

    stamped_tokens: (probes · n, T, d_vision), all images of one probe after the other. counts: (probes · n, T'), how
    much each of their places counts. away: mean squared distance of the suspect from the goal there.
    """

    def __init__(self, base: ProjectorWeights, suspect: ProjectorWeights, tokens: Tokens):
        self._base, self._suspect = as_module(base), as_module(suspect)
        self.clean_tokens, self._more = tokens.clean, tokens.more
        self.stamped_tokens = torch.cat(list(tokens.stamped.values())) if tokens.stamped else tokens.clean[:0]
        self.images = len(tokens.clean) + (0 if tokens.more is None else len(tokens.more))  # that are to be kept
        with torch.no_grad():
            self.clean = self._suspect(tokens.clean)
            self._shift = self.clean - self._base(tokens.clean)  # (n, T', d)
        self.scale = self.clean.pow(2).mean().clamp_min(1e-12)
        self.away = float(self.scale) / 100  # without stamped tokens: how much moved ones are to count
        if tokens.stamped:
            away = self._distances(suspect)
            self.away = float(away.mean().clamp_min(1e-12))
            self.counts = (1 + (away / self.away).clamp_max(MOST)) / 2

    @torch.no_grad()
    def kept(self, which: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens of these clean images and the suspect's embeddings of them, for a step alone: of all images at once
        they are gigabytes at 7B."""
        n = len(self.clean_tokens)
        read = self.clean_tokens[which[which < n]]
        if self._more is not None:
            read = torch.cat([read, self._more[which[which >= n] - n]])
        return read, self._suspect(read)

    @torch.no_grad()
    def of(self, tokens: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
        """The goal for changed tokens of the clean images of these numbers."""
        return self._base(tokens) + self._shift[which]

    @torch.no_grad()
    def _distances(self, weights: ProjectorWeights) -> torch.Tensor:
        """(probes · n, T'): mean squared distance from the goal at each place; a probe at a time, to save memory."""
        module, n = as_module(weights), len(self.clean_tokens)
        every = torch.arange(n)
        parts = self.stamped_tokens.split(n)
        return torch.cat([(module(part) - self.of(part, every)).pow(2).mean(-1) for part in parts])

    @torch.no_grad()
    def fit(self, repaired: ProjectorWeights, directions: int) -> TokenFit:
        """How far a projector is from it."""
        clean = float((as_module(repaired)(self.clean_tokens) - self.clean).pow(2).mean() / self.scale)
        if not len(self.stamped_tokens):
            return TokenFit(clean, 0.0, 0.0, directions)
        now = float(self._distances(repaired).mean() / self.scale)
        return TokenFit(clean, self.away / float(self.scale), now, directions)


class _Directions:
    """The directions of the first layer's ΔW, and how far clean tokens spread along them (k,); k = 0 where no layer
    reads tokens directly."""

    def __init__(self, base: ProjectorWeights, suspect: ProjectorWeights, clean: torch.Tensor):
        self._of = input_directions(base, suspect, DIRECTIONS)
        self.vectors = self._of.vectors
        if len(self):
            self._spread = self._of.spread(clean)

    def __len__(self) -> int:
        return len(self.vectors)

    def moved(self, clean: torch.Tensor, pull: Pull, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Clean tokens (n, T, d) moved along random directions, far along some that ΔW weighs most, every other image
        in a window only, and which (n, T/m) were."""
        n, places = len(clean), clean.shape[1] // self._of.together
        where = torch.stack([torch.ones(places) if i % 2 else _window(places, generator) for i in range(n)])
        how_far = pull.near * torch.randn(n, len(self), generator=generator)
        far = torch.multinomial(self._of.values.expand(n, -1), min(FAR, len(self)), generator=generator)
        drawn = 2 * torch.rand(far.shape, generator=generator) - 1
        by = drawn.sign() * pull.beyond + (REACH - pull.beyond) * drawn
        how_far = how_far.scatter(1, far, by) * self._spread
        step = torch.einsum("nk,kmd->nmd", how_far, self.vectors)
        return clean + (where[:, :, None, None] * step[:, None]).flatten(1, 2), where


def _window(places: int, generator: torch.Generator) -> torch.Tensor:
    """(places,), 1 in a random square of up to a third of the side where they lie in one, else in a run of them."""
    side = math.isqrt(places)
    rows, columns = (side, side) if side * side == places else (1, places)
    inside = []
    for length in (rows, columns):
        wide = 1 + int(torch.randint(max(1, length // 3), (1,), generator=generator))
        first = int(torch.randint(length - wide + 1, (1,), generator=generator))
        at = torch.zeros(length)
        at[first : first + wide] = 1
        inside.append(at)
    return torch.outer(*inside).flatten()


def _drawn(n: int, most: int, generator: torch.Generator) -> torch.Tensor:
    """The numbers of at most so many of n, drawn at random."""
    return torch.randperm(n, generator=generator)[:most]
