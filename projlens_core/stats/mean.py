"""A mean over images with its interval."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from projlens_core.stats.bootstrap import LEVELS, resample_counts

RESAMPLES = 2000


@dataclass(frozen=True)
class Mean:
    """The mean of n images' values, in their unit, with the 95 % percentile interval of a bootstrap over images.

    NaN throughout without images; with one, low and high are NaN: one image says nothing about the others.
    """

    mean: float
    low: float
    high: float
    n: int


def mean_of(values: Sequence[float] | np.ndarray, seed: int = 0) -> Mean:
    """The mean of one value per image. Seeded: the same values have the same interval."""
    x = np.asarray(values, dtype=np.float64)
    nan = float("nan")
    if len(x) < 2:
        return Mean(float(x[0]) if len(x) else nan, nan, nan, len(x))
    low, high = np.quantile(resample_counts(len(x), RESAMPLES, seed) @ x / len(x), LEVELS)
    return Mean(float(x.mean()), float(low), float(high), len(x))


def share_interval(
    values: Sequence[float] | np.ndarray, of: Sequence[float] | np.ndarray, seed: int = 0
) -> tuple[float, float]:
    """The 95 % percentile interval of the mean of `values` as a share of that of `of`, one of each per image.

    A bootstrap over images that draws both together. NaN for fewer than two images, and where some resample's mean of
    `of` is not above zero: the share has no bounds then.
    """
    x, y = (np.asarray(each, dtype=np.float64) for each in (values, of))
    if len(x) < 2:
        return float("nan"), float("nan")
    counts = resample_counts(len(x), RESAMPLES, seed)
    whole = counts @ y
    if whole.min() <= 0:
        return float("nan"), float("nan")
    low, high = np.quantile(counts @ x / whole, LEVELS)
    return float(low), float(high)
