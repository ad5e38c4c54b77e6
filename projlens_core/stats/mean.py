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
