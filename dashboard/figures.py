"""Result → headline numbers and tables as text, each with its interval and the control beside it. No streamlit."""

from collections.abc import Callable

import pandas as pd
import torch

from projlens_core.activations.norm_shift import NormShiftFit
from projlens_core.activations.shift import ShiftAnalysis
from projlens_core.evidence.case import OpenedCase
from projlens_core.evidence.exhibit import Metric
from projlens_core.evidence.study import Reference, Subject
from projlens_core.weights.projector import ProjectorWeights

UNIT = "embedding units"
FEW = 5  # directions that a projector backdoor is said to fit into
_SUBSCRIPT = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def with_sign(value: float) -> str:
    """Three digits with a sign, as +1.23 or −0.65."""
    return _number(value, "+.3g")


def short(value: float) -> str:
    """Three digits, as 1.23 or −0.65."""
    return _number(value, ".3g")


def _number(value: float, form: str) -> str:
    """`value` with a real minus, which a reader does not take for a dash."""
    return format(value, form).replace("-", "−")


def symbol(number: int) -> str:
    """The change of the number-th matrix as the paper writes it: ΔW₁."""
    return f"ΔW{str(number).translate(_SUBSCRIPT)}"


def case_headlines(opened: OpenedCase) -> list[Metric]:
    """What the spectra say, beside the control's: concentration of each end of the projector, size of the change."""
    names = list(opened.spectra)
    last, delta = names[-1], symbol(len(names))
    suspect, control = opened.spectra[last], opened.control_spectra.get(last)
    few = min(FEW, len(suspect.values))
    relative = {t.name: t.relative_change for t in opened.delta.tensors}[last]
    by_control = {t.name: t.relative_change for t in opened.control_delta.tensors} if opened.control_delta else {}
    ends = {1: names[0], len(names): last}
    return [
        *(_stable_rank(opened, name, symbol(number)) for number, name in ends.items()),
        Metric(
            f"Top {few} hold of {delta}",
            f"{suspect.energy[few - 1]:.0%}",
            f"{control.energy[few - 1]:.0%}" if control else None,
            help=f"Energy: the share of ‖{delta}‖² that its {few} strongest directions hold together.",
        ),
        Metric(
            f"Relative size of {delta}",
            f"{relative:.1%}",
            f"{by_control[last]:.1%}" if last in by_control else None,
            help=f"‖{delta}‖ / ‖W‖: how far the matrix moved, compared with its own size.",
        ),
    ]


def _stable_rank(opened: OpenedCase, name: str, delta: str) -> Metric:
    suspect, control = opened.spectra[name], opened.control_spectra.get(name)
    return Metric(
        f"Stable rank of {delta}",
        f"{suspect.stable_rank:.1f}",
        f"{control.stable_rank:.1f}" if control else None,
        help=f"‖{delta}‖² / σ₁²: how many directions the change really uses. Small means concentrated.",
    )


def changes(opened: OpenedCase) -> pd.DataFrame:
    """One row a tensor: how far it moved, and the shape of its spectrum."""
    control = {t.name: t.relative_change for t in opened.control_delta.tensors} if opened.control_delta else {}
    rows = []
    for tensor in opened.delta.tensors:
        spectrum, edge = opened.spectra.get(tensor.name), opened.edges.get(tensor.name)
        rows.append(
            {
                "tensor": tensor.name,
                "shape": " × ".join(map(str, tensor.shape)),
                "‖Δ‖": tensor.frobenius,
                "relative change": tensor.relative_change,
                "control's": control.get(tensor.name),
                "cosine": tensor.cosine,
                "stable rank": spectrum.stable_rank if spectrum else None,
                "effective rank": spectrum.effective_rank if spectrum else None,
                "spikes": edge.spikes if edge else None,
            }
        )
    return pd.DataFrame(rows)


def files(opened: OpenedCase) -> pd.DataFrame:
    """One row a projector: what was opened and how much of it was read."""
    roles = {"base": opened.base, "suspect": opened.suspect, "control": opened.control}
    return pd.DataFrame([_file(role, weights) for role, weights in roles.items() if weights is not None])


def _file(role: str, weights: ProjectorWeights) -> dict[str, str]:
    shapes = [tensor.shape for tensor in weights.tensors.values() if tensor.ndim == 2]
    return {
        "role": role,
        "opened": weights.source,
        "family": weights.family.title,
        "projector": " → ".join(str(width) for width in (weights.d_in, *(shape[0] for shape in shapes))),
        "parameters": f"{weights.parameters:,}",
        "dtype": weights.dtype,
        "bytes read": f"{weights.bytes_read:,}",
        "content (SHA-256)": weights.sha256[:16],
    }


def activation_headlines(judged: Reference, found: dict[str, Subject], signed: bool) -> list[Metric]:
    """This picture's shift, and what all samples say; found and judged hold "suspect" and, if there is one, "control".

    An upload that is already triggered has an unknown trigger, so it is held against the clean samples only.
    """
    if judged.by_role["suspect"].triggered is None:
        return _alone(judged, found, signed)
    control = judged.by_role.get("control")
    suspect = judged.by_role["suspect"]
    apart, fit = suspect.separation, suspect.triggered.fit
    return [
        _mean_shift(found, signed),
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
            _number(suspect.direction_cosine, ".3f"),
            _number(control.direction_cosine, ".3f") if control else None,
            help="Cosine between the drift directions of clean and of triggered samples: near 1, the trigger only "
            "pushes further along the direction on which clean images already move.",
        ),
        Metric(
            "Norm–shift r, triggered",
            _number(fit.r, ".2f"),
            _number(control.triggered.fit.r, ".2f") if control else None,
            f"{_number(fit.low, '.2f')} – {_number(fit.high, '.2f')}",
            "Pearson's r between a token's norm and its shift, over the triggered samples: the paper's activation "
            "mechanism says that the shift grows with the norm. With its 95 % interval.",
        ),
    ]


def _mean_shift(found: dict[str, Subject], signed: bool) -> Metric:
    def means(subject: Subject) -> str:
        maps = [m for m in (subject.clean, subject.triggered) if m is not None]
        return " → ".join(short((m if signed else abs(m)).mean()) for m in maps)

    what = "Mean" if found["suspect"].difference is None else "Clean → triggered, mean"
    return Metric(
        "This picture's shift",
        means(found["suspect"]),
        means(found["control"]) if "control" in found else None,
        help=f"{what} of {'ΔE·v₀' if signed else '|ΔE·v₀|'} over all patches, in {UNIT}.",
    )


def _alone(judged: Reference, found: dict[str, Subject], signed: bool) -> list[Metric]:
    def below(role: str) -> str:
        clean = judged.by_role[role].clean.sample_mean
        return f"{int((clean < float(found[role].triggered.mean())).sum())} of {len(clean)}"

    def explained(role: str) -> str:
        return f"{found[role].analysis.direction.explained:.0%}"

    control = "control" in found
    return [
        _mean_shift(found, signed),
        Metric(
            "Clean samples below it",
            below("suspect"),
            below("control") if control else None,
            help="How many clean samples are pushed less far than this picture: all of them, if it stands out.",
        ),
        Metric(
            "ΔE along the direction",
            explained("suspect"),
            explained("control") if control else None,
            help="Share of this picture's whole embedding shift that lies along the drift direction.",
        ),
    ]


def numbers(judged: Reference) -> pd.DataFrame:
    """Every figure of the analysis as text: suspect, control, and the control along the suspect's direction."""
    columns = {"suspect": judged.by_role["suspect"]}
    if "control" in judged.by_role:
        columns |= {"control": judged.by_role["control"], "control along suspect's v₀": judged.along}
    return pd.DataFrame(
        [{"figure": name} | {column: text(a) for column, a in columns.items()} for name, text in _FIGURES.items()]
    )


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


def _of_pairs(text: Callable[[ShiftAnalysis], str]) -> Callable[[ShiftAnalysis], str]:
    """A figure that needs triggered twins: a dash without them."""
    return lambda analysis: text(analysis) if analysis.triggered is not None else "–"


_FIGURES: dict[str, Callable[[ShiftAnalysis], str]] = {
    "mean shift, clean": lambda a: _mean(a.clean.shift),
    "mean shift, triggered": _of_pairs(lambda a: _mean(a.triggered.shift)),
    "separation (AUROC)": _of_pairs(
        lambda a: f"{a.separation.auroc:.3f} ({a.separation.low:.3f} – {a.separation.high:.3f})"
    ),
    "cosine of clean and triggered drift directions": _of_pairs(lambda a: _number(a.direction_cosine, ".4f")),
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
