"""The bootstrap behind every 95 % interval over images: seeded resampling, as counts that are multiplied with sums."""

from functools import lru_cache

import numpy as np

MIN_IMAGES = 5  # below it the images are too few to be resampled
LEVELS = (0.025, 0.975)  # quantiles that bound a two-sided 95 % interval


@lru_cache(maxsize=4)  # each image of a model is resampled alike
def resample_counts(units: int, resamples: int, seed: int) -> np.ndarray:
    """How often each unit stands in each bootstrap resample: (resamples, units) float64, each row summing to units.

    Read-only: it may be asked for again.
    """
    drawn = np.random.default_rng(seed).integers(0, units, (resamples, units))
    places = drawn + units * np.arange(resamples)[:, None]  # one bin per resample and unit
    counts = np.bincount(places.ravel(), minlength=resamples * units).reshape(resamples, units).astype(np.float64)
    counts.flags.writeable = False
    return counts
