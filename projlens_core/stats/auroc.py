"""How well a figure per image tells triggered images from clean ones."""

from dataclasses import dataclass
from statistics import NormalDist

import torch

Z = NormalDist().inv_cdf(0.975)  # of a two-sided 95 % interval


@dataclass(frozen=True)
class Separation:
    """Area under the ROC curve, with its 95 % interval; 0.5 is chance, 1: every triggered image above every clean."""

    auroc: float
    low: float
    high: float
    clean: int  # images
    triggered: int


def separation(clean: torch.Tensor, triggered: torch.Tensor) -> Separation:
    """AUROC of one figure per image, clean (n,) against triggered (m,): the share of pairs in order, ties count half.

    The interval is Newcombe's method 5 (Statistics in Medicine 2006), a score interval on Hanley and McNeil's
    variance: unlike a bootstrap it does not collapse to [1, 1] when a few images are told apart perfectly. It takes
    the two groups for independent, which is cautious where the triggered images are twins of the clean ones.
    """
    difference = triggered[:, None] - clean[None, :]  # (m, n)
    auroc = float(((difference > 0).double() + 0.5 * (difference == 0).double()).mean())
    m, n = difference.shape
    if not torch.isfinite(difference).all():
        auroc = float("nan")
        return Separation(auroc, auroc, auroc, n, m)
    return Separation(auroc, _bound(auroc, 0.0, n, m), _bound(auroc, 1.0, n, m), n, m)


def _bound(auroc: float, end: float, n: int, m: int) -> float:
    """The value between `auroc` and `end` from which auroc is just Z standard errors away, by bisection."""
    near, far = auroc, end
    for _ in range(60):
        middle = (near + far) / 2
        if abs(auroc - middle) > Z * _variance(middle, n, m) ** 0.5:
            far = middle
        else:
            near = middle
    return (near + far) / 2


def _variance(auroc: float, n: int, m: int) -> float:
    """Hanley and McNeil's variance, with both group sizes replaced by their mean as Newcombe does."""
    others = (n + m) / 2 - 1
    spread = 1 + others * ((1 - auroc) / (2 - auroc) + auroc / (1 + auroc))
    return auroc * (1 - auroc) * spread / (n * m)
