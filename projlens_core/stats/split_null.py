"""The clean–clean split: how much two random halves of the clean images differ, which is what a trigger has to beat.

A trigger changes the image, so nearly every hidden unit reacts to it a little, in an honest projector too. The
yardstick is therefore not zero but chance: clean images are split in half at random, many times, and a unit counts
only if the trigger moves it further than such halves differ. That is cautious, since triggered images are twins of
the clean ones and differ from them in nothing else, while halves hold different images.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from projlens_core.stats.bootstrap import LEVELS, resample_counts

MIN_IMAGES = 8  # 35 different splits; fewer say too little of what chance does
SPLITS = 500
RESAMPLES = 500
RATE = 0.05  # of false discoveries among the units that count (Benjamini and Hochberg 1995)
_AT_ONCE = 50  # splits, each a row of one number a unit


@dataclass(frozen=True)
class Count:
    """How many units, with the 95 % interval over images; of how many that were looked at."""

    value: int
    low: int
    high: int
    of: int


@dataclass(frozen=True)
class SplitTest:
    """Which of m units the trigger moves further than random halves of the clean images differ.

    spread is the standard deviation, over splits, of the difference between two halves; cut is how many spreads a
    difference must exceed so that of the units beyond it a share of RATE is expected to be there by chance. p comes
    from the splits of all units pooled, each unit's in its own spreads. With too few images spread, p and cut are NaN,
    no unit is beyond, and note says so; it is None otherwise.
    """

    difference: np.ndarray  # (m,) mean over images of triggered − clean
    spread: np.ndarray  # (m,)
    p: np.ndarray  # (m,)
    cut: float
    beyond: np.ndarray  # (m,) int8: -1 falls, 1 rises, 0 within chance
    resampled: np.ndarray  # (RESAMPLES, m) int8: the same for other draws of images, spread and cut held fixed
    note: str | None

    @property
    def moved(self) -> Count | None:
        """How many units lie beyond chance, whichever way; None if untested."""
        return None if self.note else counted(self.beyond != 0, self.resampled != 0, len(self.beyond))


def split_test(clean: np.ndarray, triggered: np.ndarray, seed: int = 0) -> SplitTest:
    """Test one figure per image and unit, clean (n, m) against that of the n triggered twins, in the same order."""
    n, m = clean.shape
    differences = triggered.astype(np.float64) - clean
    difference = differences.mean(axis=0)
    if n < MIN_IMAGES:
        unknown, none = np.full(m, np.nan), np.zeros((RESAMPLES + 1, m), np.int8)
        note = f"Not tested: {n} images are too few to be split; {MIN_IMAGES} or more are needed."
        return SplitTest(difference, unknown, unknown, float("nan"), none[0], none[1:], note)
    first = n // 2
    spread = clean.std(axis=0, ddof=1, dtype=np.float64) * np.sqrt(1 / first + 1 / (n - first))
    # 0 where a unit is the same on all clean images: no split moves it
    chance = [_in_spreads((ones - others) @ clean * (spread > 0), spread) for ones, others in _halves(n, seed)]
    pooled = np.sort(np.concatenate(chance), axis=None)
    p = (1 + len(pooled) - np.searchsorted(pooled, _in_spreads(difference, spread))) / (1 + len(pooled))
    level = RATE * max(discoveries(p), 1) / m  # of the last discovery or, without any, what a first one has to reach
    cut = float(np.quantile(pooled, 1 - level, method="higher"))
    beyond, resampled = (
        np.where(_in_spreads(values, spread) > cut, np.sign(values), 0).astype(np.int8)
        for values in (difference, resampled_means(differences, seed))
    )
    return SplitTest(difference, spread, p, cut, beyond, resampled, None)


def resampled_means(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """Means over bootstrap resamples of the n images: (n, m) → (RESAMPLES, m), the same images for the same seed."""
    return resample_counts(len(values), RESAMPLES, seed) / len(values) @ values


def counted(found: np.ndarray, resampled: np.ndarray, of: int) -> Count:
    """How many units were found, (m,) bool, and 95 % of how many other draws of images find, (RESAMPLES, m) bool."""
    low, high = np.quantile(resampled.sum(axis=1), LEVELS)
    return Count(int(found.sum()), round(low), round(high), of)


@dataclass(frozen=True)
class Distance:
    """How far apart the distributions, over units, of their means on clean and on triggered images lie.

    value is the mean distance between quantiles (Wasserstein-1) as a share of the mean on clean images: 0 where the
    distributions coincide. chance: 97.5 % of random halves of the clean images lie nearer together.
    """

    value: float
    low: float  # 95 % interval, bootstrap over images
    high: float
    chance: float


def distance(clean: np.ndarray, triggered: np.ndarray, seed: int = 0) -> Distance | None:
    """Distance of the distributions of one figure per image and unit, (n, m) clean and twins; None below MIN_IMAGES."""
    if len(clean) < MIN_IMAGES:
        return None
    scale = clean.mean(dtype=np.float64) or 1.0  # all silent: nothing to be relative to
    drawn = _apart(resampled_means(clean, seed), resampled_means(triggered, seed))
    halves = np.concatenate([_apart(ones @ clean, others @ clean) for ones, others in _halves(len(clean), seed)])
    low, high = np.quantile(drawn, LEVELS) / scale
    value = _apart(clean.mean(axis=0, dtype=np.float64), triggered.mean(axis=0, dtype=np.float64)) / scale
    return Distance(float(value), float(low), float(high), float(np.quantile(halves, LEVELS[1]) / scale))


def _apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Mean distance of the quantiles of two equally large samples: (…, m) → (…)."""
    return np.abs(np.sort(a, axis=-1) - np.sort(b, axis=-1)).mean(axis=-1)


def _halves(n: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Random splits of n images, some at once: weights (k, n) that take the mean of the one half, and of the other."""
    rng = np.random.default_rng(seed)
    first = n // 2
    for _ in range(0, SPLITS, _AT_ONCE):
        chosen = rng.permuted(np.tile(np.arange(n) < first, (_AT_ONCE, 1)), axis=1)
        yield chosen / first, ~chosen / (n - first)


def _in_spreads(difference: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """|difference| / spread, (…, m); for a unit that is the same on all clean images, 0 or, if it moves, infinite."""
    size = np.abs(difference)
    return np.divide(size, spread, out=np.where(size > 0, np.inf, 0.0), where=np.broadcast_to(spread > 0, size.shape))


def discoveries(p: np.ndarray) -> int:
    """How many hypotheses Benjamini and Hochberg's procedure rejects at the false discovery rate RATE."""
    passed = np.sort(p) <= RATE * np.arange(1, len(p) + 1) / len(p)
    return int(passed.nonzero()[0].max(initial=-1)) + 1
