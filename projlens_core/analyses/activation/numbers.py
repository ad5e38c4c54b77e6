"""The numbers of the activation analysis as text: one image's, and those of the samples that it is compared with."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch

from projlens_core.activations.shift import Paired, ShiftAnalysis
from projlens_core.analyses.activation.measure import ImageShift, SampleShift
from projlens_core.analyses.exhibit import Metric, Table, with_minus
from projlens_core.runtime.required import required
from projlens_core.stats.auroc import Separation, separation
from projlens_core.stats.lines import NormShiftFit

UNIT = "embedding units"


def with_sign(value: float) -> str:
    """Three digits with a sign, as +1.23 or −0.65."""
    return _number(value, "+.3g")


def short(value: float) -> str:
    """Three digits, as 1.23 or −0.65."""
    return _number(value, ".3g")


def _number(value: float, form: str) -> str:
    return with_minus(format(value, form))


def headlines(samples: SampleShift, by_role: dict[str, ImageShift], signed: bool) -> list[Metric]:
    """This image's shift, and what all samples say; samples and by_role have "suspect" and, where there is one,
    "control".

    An upload that is already triggered has an unknown trigger, so it is compared with the clean samples only.
    """
    suspect = samples.by_role["suspect"].paired
    if suspect is None:
        return _alone(samples, by_role, signed)
    control = samples.by_role["control"].paired if "control" in samples.by_role else None
    apart, fit = suspect.separation, suspect.triggered.fit
    return [
        _mean_shift(by_role, signed),
        Metric(
            "Separation (AUROC)",
            f"{apart.auroc:.2f}",
            f"{control.separation.auroc:.2f}" if control else None,
            f"{apart.low:.2f} – {apart.high:.2f}",
            f"How well the mean shift tells {apart.triggered} triggered samples from {apart.clean} clean ones: 0.5 is "
            "chance, 1 is perfect. With its 95 % interval.",
        ),
        Metric(
            "One shared direction",
            f"{abs(suspect.direction_cosine):.3f}",
            f"{abs(control.direction_cosine):.3f}" if control else None,
            help="|cos| between the drift directions of clean and of triggered samples: near 1, the trigger only "
            "pushes further along the axis on which clean images already move. Without its sign: a drift direction "
            "points where its own mean shift goes, and where patches are pushed to both sides about as far, that mean "
            "is next to zero and the sign an accident.",
        ),
        Metric(
            "Norm–shift r, triggered",
            _number(fit.r, ".2f"),
            _number(control.triggered.fit.r, ".2f") if control else None,
            f"{_number(fit.low, '.2f')} – {_number(fit.high, '.2f')}",
            "Pearson's r between a token's norm and its shift, over the triggered samples: the paper's activation "
            "mechanism says that the shift grows with the norm. With its 95 % interval.",
        ),
        _by_patch(samples.by_role["suspect"], samples.by_role.get("control")),
    ]


def _by_patch(suspect: ShiftAnalysis, control: ShiftAnalysis | None) -> Metric:
    own, theirs = by_largest_patch(suspect), by_largest_patch(control) if control else None
    return Metric(
        "AUROC, largest patch",
        f"{own.auroc:.2f}",
        f"{theirs.auroc:.2f}" if theirs else None,
        f"{own.low:.2f} – {own.high:.2f}",
        "The same AUROC, of the shift of each image's most shifted patch, to the side to which the trigger pushes: a "
        "trigger that is a small patch moves few others, so that the mean hardly shows it.",
    )


def by_largest_patch(analysis: ShiftAnalysis) -> Separation:
    """Separation of triggered from clean images by the largest shift of a patch, to the side to which the trigger
    pushes their mean."""
    triggered = required(analysis.triggered, "the triggered images").shift  # (n, T)
    clean = analysis.clean.shift  # (n, T)
    side = 1.0 if triggered.mean() >= clean.mean() else -1.0
    return separation((side * clean).amax(dim=1), (side * triggered).amax(dim=1))


def _mean_shift(by_role: dict[str, ImageShift], signed: bool) -> Metric:
    def means(subject: ImageShift) -> str:
        return " → ".join(short(values.mean()) for values in subject.maps(signed).values())

    what = "Clean → triggered, mean" if len(by_role["suspect"].maps()) == 2 else "Mean"
    return Metric(
        "This image's shift",
        means(by_role["suspect"]),
        means(by_role["control"]) if "control" in by_role else None,
        help=f"{what} of {'ΔE·v₀' if signed else '|ΔE·v₀|'} over all patches, in {UNIT}.",
    )


def _alone(samples: SampleShift, by_role: dict[str, ImageShift], signed: bool) -> list[Metric]:
    def below(role: str) -> str:
        clean, own = samples.by_role[role].clean.sample_mean, required(by_role[role].triggered, "the triggered image")
        return f"{int((clean < float(own.mean())).sum())} of {len(clean)}"

    def below_by_patch(role: str) -> str:
        clean = samples.by_role[role].clean.shift.abs().amax(dim=1)  # (n,)
        own = float(np.abs(required(by_role[role].triggered, "the triggered image")).max())
        return f"{int((clean < own).sum())} of {len(clean)}"

    def explained(role: str) -> str:
        return f"{by_role[role].analysis.direction.explained:.0%}"

    control = "control" in by_role
    return [
        _mean_shift(by_role, signed),
        Metric(
            "Clean samples below it",
            below("suspect"),
            below("control") if control else None,
            help="How many clean samples are pushed less far than this image: all of them, if it stands out.",
        ),
        Metric(
            "Below it by their largest patch",
            below_by_patch("suspect"),
            below_by_patch("control") if control else None,
            help="The same by the most pushed patch of each, whichever way: a trigger that is a small patch hardly "
            "moves the mean.",
        ),
        Metric(
            "ΔE along the direction",
            explained("suspect"),
            explained("control") if control else None,
            help="Share of this image's whole embedding shift that lies along the drift direction.",
        ),
    ]


def numbers(samples: SampleShift) -> Table:
    """Every figure of the analysis as text: suspect, control, and the control along the suspect's direction."""
    columns = {"suspect": samples.by_role["suspect"]}
    if "control" in samples.by_role:
        along = required(samples.along, "the control along the suspect's direction")
        columns |= {"control": samples.by_role["control"], "control along suspect's v₀": along}
    return Table(
        "activation-numbers",
        pd.DataFrame(
            [{"figure": name} | {column: text(a) for column, a in columns.items()} for name, text in _FIGURES.items()]
        ),
        "How to read this: intervals are 95 %. The control is shown along its own drift direction and along the "
        "suspect's; a direction that belongs to a backdoor is one on which the control hardly moves.",
    )


def patches(by_role: dict[str, ImageShift]) -> Table:
    """One row per patch of the image on screen, the farthest pushed by the suspect first."""
    suspect = by_role["suspect"]
    *_, shown = suspect.maps().values()
    places = within(shown)
    row, column = np.indices(shown.shape)
    columns = {"place": places}
    if suspect.within is not None:
        columns["row"] = row.ravel() + 1
    columns["column" if suspect.within is not None else "token"] = column.ravel() + 1
    for role, subject in by_role.items():
        columns |= {f"{role}, {condition}": values.ravel() for condition, values in subject.maps().items()}
    for condition, part in suspect.conditions.items():
        columns |= {
            f"‖h‖, {condition}": part.input_norms[0, : shown.size].numpy(),
            f"‖E_b‖, {condition}": part.base_norms[0, : shown.size].numpy(),
        }
    return Table(
        "patches",
        pd.DataFrame(columns).sort_values("place", ignore_index=True),
        "How to read this: signed shift ΔE·v₀ of every patch under each projector, norms of the projector's input and "
        "of base's output, and the patch's place within the image by the suspect's |ΔE·v₀|.",
    )


def within(values: np.ndarray) -> np.ndarray:
    """Each token's place within its image by |value|, 1 for the largest: flat (T,); ties in the order of tokens."""
    order = np.argsort(-np.abs(values.ravel()), kind="stable")
    places = np.empty(order.size, dtype=np.int64)
    places[order] = np.arange(1, order.size + 1)
    return places


def patch(subject: ImageShift, token: int) -> list[tuple[str, str]]:
    """(what, numbers) of one patch under one projector, clean → triggered where there are both."""
    maps, parts = subject.maps(), subject.conditions

    def both(values: dict[str, float], text: Callable[[float], str] = short) -> str:
        return " → ".join(text(value) for value in values.values())

    tokens = next(iter(maps.values())).size
    return [
        ("shift ΔE·v₀", both({c: float(values.ravel()[token]) for c, values in maps.items()})),
        ("place in the image", both({c: within(values)[token] for c, values in maps.items()}, str) + f" of {tokens}"),
        ("‖E_b‖", both({c: float(part.base_norms[0, token]) for c, part in parts.items()})),
        ("‖h‖", both({c: float(part.input_norms[0, token]) for c, part in parts.items()})),
    ]


def _mean(value: torch.Tensor) -> str:
    return _number(float(value.mean()), ".4g")


def _fit(fit: NormShiftFit) -> str:
    if fit.note:
        return fit.note
    r, low, high = (_number(value, ".3f") for value in (fit.r, fit.low, fit.high))
    return f"{r} ({low} – {high}, by {fit.resampled})"


def _slope(fit: NormShiftFit) -> str:
    if fit.note:
        return fit.note
    slope, low, high = (_number(value, ".3g") for value in (fit.slope, fit.slope_low, fit.slope_high))
    return f"{slope} ({low} – {high})"


def _of_pairs(text: Callable[[Paired], str]) -> Callable[[ShiftAnalysis], str]:
    """A figure that needs triggered twins: a dash without them."""
    return lambda analysis: "–" if (pair := analysis.paired) is None else text(pair)


_FIGURES: dict[str, Callable[[ShiftAnalysis], str]] = {
    "mean shift, clean": lambda a: _mean(a.clean.shift),
    "mean shift, triggered": _of_pairs(lambda a: _mean(a.triggered.shift)),
    "separation (AUROC)": _of_pairs(
        lambda a: f"{a.separation.auroc:.3f} ({a.separation.low:.3f} – {a.separation.high:.3f})"
    ),
    "|cos| of clean and triggered drift directions": _of_pairs(lambda a: f"{abs(a.direction_cosine):.4f}"),
    "norm–shift r, clean": lambda a: _fit(a.clean.fit),
    "norm–shift r, triggered": _of_pairs(lambda a: _fit(a.triggered.fit)),
    "norm–shift slope, clean": lambda a: _slope(a.clean.fit),
    "norm–shift slope, triggered": _of_pairs(lambda a: _slope(a.triggered.fit)),
    "share of ‖ΔE‖² along v₀": lambda a: f"{a.direction.explained:.1%}",
    "mean |shift| along v₀": lambda a: f"{a.null.observed:.4g}",
    "the same along random directions": lambda a: f"{a.null.mean:.4g} (97.5 % below {a.null.high:.4g})",
    "contrast: extra shift by the trigger along v₀": _of_pairs(lambda a: _mean(a.contrast.projection)),
    "contrast: extra shift by the trigger, norm": _of_pairs(lambda a: _mean(a.contrast.norm)),
    "base alone: change by the trigger along v₀": _of_pairs(lambda a: _mean(a.contrast.base_projection)),
    "base alone: change by the trigger, norm": _of_pairs(lambda a: _mean(a.contrast.base_norm)),
}
