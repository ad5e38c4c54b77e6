"""A share of trials with its interval."""

from dataclasses import dataclass
from statistics import NormalDist

Z = NormalDist().inv_cdf(0.975)  # of a two-sided 95 % interval


@dataclass(frozen=True)
class Rate:
    """A share of n trials with its 95 % Wilson interval, all 0 to 1; NaN with bounds 0 and 1 if there was no trial."""

    rate: float
    low: float
    high: float
    n: int
    hits: int


def wilson(hits: int, n: int) -> Rate:
    """The share hits / n with Wilson's score interval, which stays inside 0 to 1 and is honest at 0 % and 100 %."""
    if not 0 <= hits <= n:
        raise ValueError(f"hits must be between 0 and n = {n}, found {hits}")
    if n == 0:
        return Rate(float("nan"), 0.0, 1.0, 0, 0)
    share, z2 = hits / n, Z * Z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * (share * (1 - share) / n + z2 / (4 * n * n)) ** 0.5
    # at the ends one bound is the share itself, up to rounding
    low = 0.0 if hits == 0 else centre - half
    high = 1.0 if hits == n else centre + half
    return Rate(share, low, high, n, hits)
