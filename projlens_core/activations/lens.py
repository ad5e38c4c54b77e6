"""The logit lens on the drift direction: which words it points to, per image and for all, against chance.

The paper takes the first right singular vector of each image's token-centred ΔE, reads lm_head(±v₀), and counts how
often each token stands at each rank. Most directions put some words on top; so the ranks of the target's words stand
beside those that random directions give them, and the caller's control goes through the same lens.
"""

from dataclasses import dataclass, replace

import torch

from projlens_core.activations.direction import Direction, drift_direction
from projlens_core.activations.head import LanguageHead
from projlens_core.activations.shift import embedding_shift
from projlens_core.activations.towers import Tokens
from projlens_core.errors import InvalidInput
from projlens_core.runtime.progress import Progress, silent
from projlens_core.weights.projector import ProjectorWeights

DEPTH = 10  # ranks kept per image; the paper's figure has as many
DRAWS = 500  # random directions: p-values down to 0.002
DRAWS_AT_ONCE = 100  # their logits take 60 MB for a vocabulary of 150,000


@dataclass(frozen=True)
class Reading:
    """The words that one sign of the direction points to; ids of tokens, best first, and ranks from 1, the top.

    `each` is per image, along its own direction; the rest is along the one direction of all images.
    """

    each: torch.Tensor  # (n, depth) ids
    each_target_ranks: torch.Tensor  # (n, targets)
    top: torch.Tensor  # (depth,) ids
    logits: torch.Tensor  # (depth,) of `top`
    target_ranks: torch.Tensor  # (targets,)
    nearest: torch.Tensor  # (depth,) ids of the token embeddings with the largest cosine
    cosines: torch.Tensor  # (depth,) of `nearest`

    @property
    def best_target_rank(self) -> int | None:
        """The best rank of any target token; None without a target."""
        return int(self.target_ranks.min()) if len(self.target_ranks) else None

    def images_reaching(self, k: int) -> int:
        """How many images' own directions have a target token among the first k."""
        return int((self.each_target_ranks <= k).any(dim=1).sum())


@dataclass(frozen=True)
class Lens:
    """The drift direction of one projector under the lens, with both signs."""

    direction: Direction  # of all images; the mean shift along it is positive
    agreement: torch.Tensor  # (n,) cosine of each image's own direction with it, 0 to 1
    push: float  # mean shift along it, in norms of a typical token embedding as the language model reads it
    plus: Reading
    minus: Reading


@dataclass(frozen=True)
class LensNull:
    """What the lens shows of random directions, uniform on the sphere; the opposite sign has the same distribution."""

    target_ranks: torch.Tensor  # (draws, targets)
    nearest: torch.Tensor  # (draws,) the largest cosine with any token embedding
    draws: int

    def p_value(self, rank: int, target: int | None = None) -> float:
        """How often a random direction ranks this target (by place), or the best of them, at `rank` or better.

        The observed direction counts as one draw, so that it is never below 1 / (draws + 1).
        """
        drawn = self._best if target is None else self.target_ranks[:, target]
        return (1 + int((drawn <= rank).sum())) / (self.draws + 1)

    def reaching(self, k: int) -> float:
        """Share of random directions with a target token among the first k."""
        return float((self._best <= k).double().mean())

    def best_interval(self) -> tuple[int, int]:
        """Between which ranks the best target token of 95 % of random directions lies."""
        low, high = torch.quantile(self._best.double(), torch.tensor([0.025, 0.975], dtype=torch.float64)).round()
        return int(low), int(high)

    def intervals(self) -> torch.Tensor:
        """Per target token the ranks below which 2.5, 50 and 97.5 % of random directions put it: (3, targets)."""
        levels = torch.tensor([0.025, 0.5, 0.975], dtype=torch.float64)
        return torch.quantile(self.target_ranks.double(), levels, dim=0)

    def nearest_high(self) -> float:
        """97.5 % of random directions have no token embedding with a larger cosine."""
        return float(self.nearest.double().quantile(0.975))

    @property
    def _best(self) -> torch.Tensor:
        return self.target_ranks.amin(dim=1)


def lens(
    head: LanguageHead,
    base: ProjectorWeights,
    suspect: ProjectorWeights,
    tokens: Tokens,
    targets: list[int],
    *,
    centred: bool = False,
    normed: bool = True,
    depth: int = DEPTH,
) -> Lens:
    """Read the drift directions of n images' ΔE, from their tokens (n, T, d_vision), with the language model's head.

    targets are tokens to look for, perhaps none. centred takes the mean over an image's tokens from its ΔE first, so
    that what pushes all tokens alike drops out, as in the paper. normed: through the final norm, see head.logits.

    Signs: the direction of all images is the one along which the mean (uncentred) shift is positive; each image's own
    is turned to its side, or the same words would be counted under two signs.

    Raises InvalidInput where there is no direction, or where embeddings and head differ in width.
    """
    if base.d_out != head.width:
        raise InvalidInput(
            f"{base.source} makes embeddings {base.d_out} wide, but the language model of {head.label} reads "
            f"{head.width}; give the base whose language model this projector feeds."
        )
    delta_e, base_e = embedding_shift(base, suspect, tokens)  # (n, T, d) each
    mean = delta_e.mean(dim=(0, 1))
    if centred:
        delta_e = _centred(delta_e, float(base_e.abs().max()))
    shared = drift_direction(delta_e)
    if mean @ shared.vector < 0:  # a centred ΔE has no mean that could fix the sign
        shared = replace(shared, vector=-shared.vector)
    own = torch.stack([drift_direction(image, "image").vector for image in delta_e])  # (n, d)
    cosine = own @ shared.vector
    own = own * torch.where(cosine < 0, -1.0, 1.0)[:, None]
    typical = float(head.embedding_norms.median()) * head.embed_scale
    stacked = torch.cat([shared.vector[None], own])  # (1 + n, d)
    logits, cosines = head.logits(stacked, normed), head.cosines(shared.vector[None])[0]  # (1 + n, V), (V,)
    return Lens(
        direction=shared,
        agreement=cosine.abs(),
        push=float(mean @ shared.vector) / typical if typical else float("nan"),
        plus=_reading(logits, cosines, targets, depth),
        minus=_reading(-logits, -cosines, targets, depth),  # the lens is odd: it has no bias, and tanh is odd too
    )


def lens_null(head: LanguageHead, targets: list[int], *, normed: bool = True, progress: Progress = silent) -> LensNull:
    """Random directions under the same lens. It depends on the head alone, so that suspect and control share it."""
    generator = torch.Generator().manual_seed(0)
    ranks, nearest = [], []
    for done in range(0, DRAWS, DRAWS_AT_ONCE):
        progress("Reading random directions", done, DRAWS)
        drawn = torch.randn(DRAWS_AT_ONCE, head.width, generator=generator)
        ranks.append(target_ranks(head.logits(drawn, normed), targets))
        nearest.append(head.cosines(drawn).amax(dim=1))
    progress("Reading random directions", DRAWS, DRAWS)
    return LensNull(torch.cat(ranks), torch.cat(nearest), DRAWS)


def target_ranks(logits: torch.Tensor, targets: list[int]) -> torch.Tensor:
    """Rank of each target in each row of logits (n, V), 1 for the largest: (n, targets); equals share the better."""
    columns = [(logits > logits[:, [token]]).sum(dim=1) + 1 for token in targets]
    return torch.stack(columns, dim=1) if columns else torch.empty(len(logits), 0, dtype=torch.int64)


def rank_frequency(each: torch.Tensor) -> dict[int, list[float]]:
    """{token: share of images at which it stands at rank 1, 2, …} from the top ids (n, depth) of each image.

    Tokens that stand anywhere among them, the most frequent first, of equally frequent ones the higher standing.
    """
    n, depth = each.shape
    counts: dict[int, list[int]] = {}
    for row in each.tolist():
        for rank, token in enumerate(row):
            counts.setdefault(token, [0] * depth)[rank] += 1
    order = sorted(counts, key=lambda token: (-sum(counts[token]), [-count for count in counts[token]], token))
    return {token: [count / n for count in counts[token]] for token in order}


def _reading(logits: torch.Tensor, cosines: torch.Tensor, targets: list[int], depth: int) -> Reading:
    """logits (1 + n, V) of the direction of all images and each image's own; cosines (V,) of the former."""
    depth = min(depth, logits.shape[1])
    values, top = logits.topk(depth, dim=1)
    ranks = target_ranks(logits, targets)
    closest, nearest = cosines.topk(depth)
    return Reading(
        each=top[1:],
        each_target_ranks=ranks[1:],
        top=top[0],
        logits=values[0],
        target_ranks=ranks[0],
        nearest=nearest,
        cosines=closest,
    )


def _centred(delta_e: torch.Tensor, size: float) -> torch.Tensor:
    """ΔE minus each image's mean over tokens; InvalidInput if nothing but rounding of values of `size` is left."""
    centred = delta_e - delta_e.mean(dim=1, keepdim=True)
    if centred.abs().max() <= 16 * torch.finfo(torch.float32).eps * size:
        raise InvalidInput(
            "All tokens of an image are shifted alike, so nothing is left of the shift once it is centred; "
            "take the raw shift."
        )
    return centred
