"""The norm–shift relation: how far a token is pushed, against its norm before or behind base (paper, claim 3)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from projlens_core.stats.bootstrap import LEVELS, MIN_IMAGES, resample_counts

PAIRS = 50_000  # of tokens, for a robust slope: its error from drawing pairs is then far below its interval
OUTLYING = 3.5
NormAxis = Literal["input", "output"]  # of the projector: ‖h‖ or ‖E_base‖
Resampled = Literal["images", "tokens"]


@dataclass(frozen=True)
class NormShiftFit:
    """Least-squares line shift = intercept + slope · norm over all tokens, and Pearson's r, with 95 % intervals.

    low and high bound r, slope_low and slope_high the slope: percentiles of a bootstrap. It resamples whole images,
    because tokens of one image depend on each other; with fewer than five images it must resample tokens, and the
    interval is then too narrow: `resampled` says which. Where there is no relation to speak of (fewer than three
    tokens, equal norms, equal shifts) all figures are NaN, never 0, and `note` says why; it is None otherwise.
    """

    r: float
    slope: float  # embedding units of shift per unit of norm
    intercept: float  # embedding units
    low: float
    high: float
    slope_low: float
    slope_high: float
    n: int  # tokens; none is left out
    images: int
    resampled: Resampled
    note: str | None


@dataclass(frozen=True)
class RobustFit:
    """Theil–Sen line shift = intercept + slope · norm: the median slope between pairs of tokens (Sen 1968).

    Up to 29 % of the tokens may lie anywhere without moving it, so it tells whether a least-squares line follows the
    many tokens or a few extreme ones. The slope is the median over at most PAIRS seeded random pairs; its 95 %
    interval resamples images (tokens, below five images) as NormShiftFit's does: a pair counts as often as both of
    its ends were drawn. The intercept is the median of shift − slope · norm. Where there is no relation all figures
    are NaN and `note` says why.
    """

    slope: float  # embedding units of shift per unit of norm
    intercept: float  # embedding units
    slope_low: float
    slope_high: float
    pairs: int
    resampled: Resampled
    note: str | None


@dataclass(frozen=True)
class Outliers:
    """Tokens far off the robust line, farthest first; they take part in every fit all the same.

    score is the residual in units of 1.4826 · MAD, which is one standard deviation of normal noise, and an outlier is
    what lies more than OUTLYING beyond the line (Iglewicz & Hoaglin 1993). A trigger's own patches are outliers too:
    that is what they are looked at for.
    """

    image: np.ndarray  # (m,) indices
    token: np.ndarray  # (m,) indices within the image
    score: np.ndarray  # (m,) signed


@dataclass(frozen=True)
class NormShift:
    """The relation over one set of n images: all its tokens, both lines, and what lies off them."""

    norms: torch.Tensor  # (n, T)
    shift: torch.Tensor  # (n, T) signed, embedding units
    fit: NormShiftFit
    robust: RobustFit
    outliers: Outliers  # of the robust line


def norm_shift(norms: torch.Tensor, shift: torch.Tensor, seed: int = 0) -> NormShift:
    """Least squares beside the robust line, over the shift (n, T) of n images' tokens and their norms (n, T)."""
    robust = robust_fit(norms, shift, seed)
    return NormShift(norms, shift, norm_shift_fit(norms, shift, seed), robust, outliers(norms, shift, robust))


def norm_shift_fit(norms: torch.Tensor, shift: torch.Tensor, seed: int = 0, resamples: int = 1000) -> NormShiftFit:
    """Fit the shift (n, T) of n images' tokens to their norms (n, T), of base embeddings or of the projector's input.

    The authors drop tokens with a norm of 175 or more; nothing is dropped here. The bootstrap is a product of
    resampling counts with sums per image (or per token), so that its cost does not grow with tokens × resamples.
    """
    images, tokens, x, y = _flat(norms, shift)
    resampled: Resampled = "images" if images >= MIN_IMAGES else "tokens"
    note = _note(x, y)
    if note:
        nan = float("nan")
        return NormShiftFit(nan, nan, nan, nan, nan, nan, nan, images * tokens, images, resampled, note)
    mean_x, mean_y = x.mean(), y.mean()
    moments = _moments(x - mean_x, y - mean_y)  # centred first: sums of squares lose digits otherwise  # (n·T, 6)
    units = moments.reshape(images, tokens, 6).sum(axis=1) if resampled == "images" else moments  # (units, 6)
    r, slope, intercept = _line(units.sum(axis=0))
    boot_r, boot_slope, _ = _line(resample_counts(len(units), resamples, seed) @ units)  # (resamples,) each
    low, high = np.nanquantile(boot_r, LEVELS)
    slope_low, slope_high = np.nanquantile(boot_slope, LEVELS)
    return NormShiftFit(
        r=float(r),
        slope=float(slope),
        intercept=float(intercept + mean_y - slope * mean_x),
        low=float(low),
        high=float(high),
        slope_low=float(slope_low),
        slope_high=float(slope_high),
        n=images * tokens,
        images=images,
        resampled=resampled,
        note=None,
    )


def robust_fit(norms: torch.Tensor, shift: torch.Tensor, seed: int = 0, resamples: int = 300) -> RobustFit:
    """The Theil–Sen line of the shift (n, T) on the norms (n, T); nothing is dropped."""
    images, tokens, x, y = _flat(norms, shift)
    resampled: Resampled = "images" if images >= MIN_IMAGES else "tokens"
    if note := _note(x, y):
        nan = float("nan")
        return RobustFit(nan, nan, nan, nan, 0, resampled, note)
    first, second = _pairs(x.size, seed)
    run = x[second] - x[first]
    first, second, run = first[run != 0], second[run != 0], run[run != 0]
    slopes = (y[second] - y[first]) / run
    order = np.argsort(slopes)
    slopes, first, second = slopes[order], first[order], second[order]
    slope = float(np.median(slopes))
    unit = tokens if resampled == "images" else 1  # tokens that are drawn together
    counts = resample_counts(x.size // unit, resamples, seed)
    boot = [_weighted_median(slopes, drawn[first // unit] * drawn[second // unit]) for drawn in counts]
    low, high = np.nanquantile(boot, LEVELS)
    intercept = float(np.median(y - slope * x))
    return RobustFit(slope, intercept, float(low), float(high), len(slopes), resampled, None)


def outliers(norms: torch.Tensor, shift: torch.Tensor, fit: RobustFit) -> Outliers:
    """The tokens of (n, T) that lie far off the robust line; none where there is no line."""
    _, tokens, x, y = _flat(norms, shift)
    if fit.note:
        nothing = np.zeros(0, dtype=np.int64)
        return Outliers(nothing, nothing, np.zeros(0))
    residual = y - fit.intercept - fit.slope * x
    rounding = 4 * np.finfo(np.float32).eps * np.abs(y).max()  # no token is an outlier for its last digit
    score = residual / max(1.4826 * float(np.median(np.abs(residual))), rounding)
    found = np.flatnonzero(np.abs(score) > OUTLYING)
    found = found[np.argsort(-np.abs(score[found]), kind="stable")]
    return Outliers(found // tokens, found % tokens, score[found])


def _flat(norms: torch.Tensor, shift: torch.Tensor) -> tuple[int, int, np.ndarray, np.ndarray]:
    """n, T and both quantities as flat float64 arrays (n·T,)."""
    if norms.shape != shift.shape or norms.dim() != 2:
        raise ValueError(f"norms and shift must both be (n, T), found {tuple(norms.shape)} and {tuple(shift.shape)}")
    x, y = (np.asarray(values.detach().cpu(), dtype=np.float64).ravel() for values in (norms, shift))
    return *norms.shape, x, y


def _pairs(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of `count` tokens, or as many of them at random as PAIRS allows."""
    if count * (count - 1) // 2 <= PAIRS:
        return np.triu_indices(count, 1)
    rng = np.random.default_rng(seed)
    first = rng.integers(0, count, PAIRS)
    return first, (first + rng.integers(1, count, PAIRS)) % count  # never a token with itself


def _weighted_median(ascending: np.ndarray, weights: np.ndarray) -> float:
    """The value at which half of the weight is reached; NaN without any weight."""
    reached = np.cumsum(weights)
    if not reached[-1]:
        return float("nan")
    low, high = np.searchsorted(reached, reached[-1] / 2, "left"), np.searchsorted(reached, reached[-1] / 2, "right")
    return float((ascending[low] + ascending[min(high, len(ascending) - 1)]) / 2)


def _moments(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Per token 1, x, y, x², y², xy: their sums are all that a line needs."""
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=-1)


def _line(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """r, slope and intercept from sums (…, 6) of moments; NaN where a resample happens to have no spread."""
    n, sx, sy, sxx, syy, sxy = np.moveaxis(sums, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        xx, yy, xy = sxx - sx * sx / n, syy - sy * sy / n, sxy - sx * sy / n
        slope = xy / xx
        return np.clip(xy / np.sqrt(xx * yy), -1.0, 1.0), slope, (sy - slope * sx) / n


def _spread(values: np.ndarray) -> bool:
    """Whether the values differ by more than float32 rounding, in which both quantities were computed."""
    return bool(np.ptp(values) > 4 * np.finfo(np.float32).eps * np.abs(values).max())


def _note(x: np.ndarray, y: np.ndarray) -> str | None:
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return "No fit: norms or shifts hold NaN or infinity."
    if x.size < 3:
        return f"No fit: {x.size} token{'s' if x.size != 1 else ''}, and a line through them says nothing below 3."
    if not _spread(x):
        return "No fit: all tokens have the same norm."
    if not _spread(y):
        return "No fit: all tokens are shifted equally far."
    return None
