"""Do mean-pooled embeddings separate clean from triggered images? (The paper's static separability.)

A linear classifier, cross-validated. Image and triggered twin always fall into the same fold: a classifier that had
seen one of them would know the image of the other, and have been told the opposite of what is right.
"""

from dataclasses import dataclass

import numpy as np
import torch

from projlens_core.errors import InvalidInput
from projlens_core.stats.auroc import Separation, separation
from projlens_core.stats.bootstrap import LEVELS, resample_counts

FOLDS = 5
MIN_IMAGES = 4
RIDGE = 0.1  # of the mean squared length of a centred training row; a tenth or ten times as much changes little
SHUFFLES = 1000
RESAMPLES = 1000
SAME = 1e-6  # of the largest coordinate: pooled embeddings that differ by less are of the same image


@dataclass(frozen=True)
class Shuffled:
    """AUROC where a coin says for each pair which of the two is called triggered: what chance gives on these images.

    Its mean may lie a little below 0.5: coins that lean one way in training lean the other way in the fold left out.
    """

    mean: float
    low: float  # 2.5 % of the shuffles lie below
    high: float  # 97.5 % do
    p: float  # how often a shuffle reaches the observed AUROC; at least 1 / (shuffles + 1)
    shuffles: int


@dataclass(frozen=True)
class Separability:
    """How well a linear classifier tells triggered images from clean ones in pairs it has never seen.

    The interval of `auroc` takes images as independent and the classifiers as given; see separation.
    """

    auroc: Separation
    clean: torch.Tensor  # (n,) float64 decision values of the clean images; above 0: taken for triggered
    triggered: torch.Tensor  # (n,) of their twins, in the same order
    chance: Shuffled
    norms: Separation  # the same classifier, given only the mean norm of an image's tokens
    folds: int


@dataclass(frozen=True)
class Gain:
    """How much better one projector separates than another on the same images: a bootstrap over pairs, 95 %.

    The bounds are NaN where both tell all images apart, or where resampling cannot change that: no news, not certainty.
    """

    difference: float  # of the AUROCs
    low: float
    high: float


def separability(clean: torch.Tensor, triggered: torch.Tensor, seed: int = 0) -> Separability:
    """Separability of n images from their triggered twins by embeddings (n, T, d), both in the same order.

    An image that stands in the set twice shares a fold with itself too. Raises InvalidInput for fewer than four
    different images, embeddings that are not finite, and twins that do not match.
    """
    if clean.shape != triggered.shape or clean.dim() != 3:
        raise InvalidInput(
            f"Clean and triggered embeddings must both be (images, tokens, d); found {tuple(clean.shape)} and "
            f"{tuple(triggered.shape)}."
        )
    pooled = np.stack([e.mean(dim=1, dtype=torch.float64).numpy() for e in (clean, triggered)])  # (2, n, d)
    norms = np.stack([e.norm(dim=-1).mean(dim=1, keepdim=True).double().numpy() for e in (clean, triggered)])
    if not np.isfinite(pooled).all():
        raise InvalidInput("The embeddings hold NaN or infinity; check the weights of the projector.")
    folds = twin_folds(pooled[0], seed)
    coins = np.random.default_rng(seed).choice([-1.0, 1.0], (SHUFFLES, len(clean)))
    signs = np.vstack([np.ones(len(clean)), coins])  # (1 + shuffles, n): as it is, then shuffled
    scores = out_of_fold(pooled, folds, signs)  # (1 + shuffles, 2, n)
    observed, *drawn = (_auroc(*_called(each, sign)) for each, sign in zip(scores, signs, strict=True))
    by_norm = torch.from_numpy(out_of_fold(norms, folds, signs[:1])[0])
    found = torch.from_numpy(scores[0])
    return Separability(
        auroc=separation(*found),
        clean=found[0],
        triggered=found[1],
        chance=Shuffled(
            mean=float(np.mean(drawn)),
            low=float(np.quantile(drawn, 0.025)),
            high=float(np.quantile(drawn, 0.975)),
            p=(1 + int(np.sum(np.array(drawn) >= observed))) / (SHUFFLES + 1),
            shuffles=SHUFFLES,
        ),
        norms=separation(*by_norm),
        folds=int(folds.max()) + 1,
    )


def gain(one: Separability, other: Separability) -> Gain:
    """AUROC of `one` minus that of `other`, which looked at the same images in the same order."""
    n = len(one.clean)
    before, after = _in_order(other), _in_order(one)  # (n, n) each
    difference = float((after - before).mean())
    if before.min() == after.min() == 1.0:
        return Gain(difference, float("nan"), float("nan"))
    counts = resample_counts(n, RESAMPLES, 0)  # (resamples, n)
    drawn = np.einsum("rt,tc,rc->r", counts, after - before, counts, optimize=True) / n**2
    low, high = np.quantile(drawn, LEVELS)
    return Gain(difference, float(low), float(high))


def twin_folds(pooled: np.ndarray, seed: int = 0) -> np.ndarray:
    """The fold (n,) of each pair, by its clean image's features (n, d): equal images stay together.

    Five folds, or as many as there are different images. Raises InvalidInput for fewer than four of them.
    """
    unit = SAME * (np.abs(pooled).max() or 1.0)
    _, first, group = np.unique(np.round(pooled / unit), axis=0, return_index=True, return_inverse=True)
    groups = len(first)
    if groups < MIN_IMAGES:
        raise InvalidInput(
            f"{groups} different image{'s' if groups != 1 else ''} cannot be cross-validated; give at least "
            f"{MIN_IMAGES}."
        )
    order = first.argsort().argsort()  # groups by first image, or another projector would have other folds
    return np.random.default_rng(seed).permutation(groups)[order[group]] % min(FOLDS, groups)


def out_of_fold(features: np.ndarray, folds: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Decision values (s, 2, n) of clean and triggered images, each from a classifier trained on the other folds.

    features (2, n, d) are those of clean and triggered images; signs (s, n) of ±1, where −1 swaps the labels of a pair.

    Ridge regression on labels ±1, which for two classes of one size is Fisher's linear discriminant with its
    covariance shrunk towards a multiple of the identity. The ridge is a fixed small share of the data's own scale: to
    tune it would take an inner cross-validation, and n is small. In its dual form all labellings cost one solution.
    """
    scores = np.empty((len(signs), 2, folds.size))
    for fold in np.unique(folds):
        held, rest = folds == fold, folds != fold
        train = features[:, rest].reshape(-1, features.shape[-1])  # (2m, d), the clean ones first
        centre = train.mean(axis=0)
        train = train - centre
        gram = train @ train.T  # (2m, 2m)
        ridge = RIDGE * np.trace(gram) / len(gram) or 1.0  # without any spread all scores are 0
        labels = np.concatenate([-signs[:, rest], signs[:, rest]], axis=1).T  # (2m, s)
        weights = np.linalg.solve(gram + ridge * np.eye(len(gram)), labels)
        test = features[:, held].reshape(-1, features.shape[-1]) - centre  # (2k, d)
        scores[:, :, held] = (test @ train.T @ weights).T.reshape(len(signs), 2, -1)
    return np.round(scores, 9)  # in units of the labels: what differs by a rounding error is in no order


def _called(scores: np.ndarray, signs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of scores (2, n), those of the images that a labelling calls clean and of those it calls triggered."""
    return np.where(signs > 0, scores[0], scores[1]), np.where(signs > 0, scores[1], scores[0])


def _auroc(clean: np.ndarray, triggered: np.ndarray) -> float:
    """As separation's, without its n × m table."""
    ordered = np.sort(clean)
    below = np.searchsorted(ordered, triggered, "left") + np.searchsorted(ordered, triggered, "right")
    return float(below.mean() / (2 * len(clean)))


def _in_order(separability: Separability) -> np.ndarray:
    """1 where a triggered image (row) scores above a clean one (column), 0.5 for equals: (n, n)."""
    difference = separability.triggered.numpy()[:, None] - separability.clean.numpy()[None, :]
    return (difference > 0) + 0.5 * (difference == 0)
