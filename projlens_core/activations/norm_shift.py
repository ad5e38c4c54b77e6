"""The norm–shift relation: how far a token is pushed, against the norm of its base embedding (paper, claim 3)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

MIN_IMAGES = 5  # below it the images are too few to be resampled
LEVELS = (0.025, 0.975)


@dataclass(frozen=True)
class NormShiftFit:
    """Least-squares line shift = intercept + slope · ‖E_b‖ over all tokens, and Pearson's r, with 95 % intervals.

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
    resampled: Literal["images", "tokens"]
    note: str | None


def norm_shift_fit(norms: torch.Tensor, shift: torch.Tensor, seed: int = 0, resamples: int = 1000) -> NormShiftFit:
    """Fit the shift (n, T) of n images' tokens to the norms (n, T) of their base embeddings.

    The authors drop tokens with a norm of 175 or more; nothing is dropped here. The bootstrap is a product of
    resampling counts with sums per image (or per token), so that its cost does not grow with tokens × resamples.
    """
    if norms.shape != shift.shape or norms.dim() != 2:
        raise ValueError(f"norms and shift must both be (n, T), found {tuple(norms.shape)} and {tuple(shift.shape)}")
    images, tokens = norms.shape
    x, y = (np.asarray(values.detach().cpu(), dtype=np.float64) for values in (norms, shift))
    resampled = "images" if images >= MIN_IMAGES else "tokens"
    note = _note(x, y)
    if note:
        nan = float("nan")
        return NormShiftFit(nan, nan, nan, nan, nan, nan, nan, images * tokens, images, resampled, note)
    mean_x, mean_y = x.mean(), y.mean()
    moments = _moments(x - mean_x, y - mean_y)  # centred first: sums of squares lose digits otherwise  # (n, T, 6)
    units = moments.sum(axis=1) if resampled == "images" else moments.reshape(-1, 6)  # (units, 6)
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


def resample_counts(units: int, resamples: int, seed: int) -> np.ndarray:
    """How often each unit stands in each bootstrap resample: (resamples, units) float64, each row summing to units."""
    drawn = np.random.default_rng(seed).integers(0, units, (resamples, units))
    places = drawn + units * np.arange(resamples)[:, None]  # one bin per resample and unit
    return np.bincount(places.ravel(), minlength=resamples * units).reshape(resamples, units).astype(np.float64)


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
        return "No fit: all base embeddings have the same norm."
    if not _spread(y):
        return "No fit: all tokens are shifted equally far."
    return None
