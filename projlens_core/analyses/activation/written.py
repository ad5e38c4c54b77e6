"""What the command writes of the samples: the figures of each projector, and a line for each image."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from projlens_core.analyses.context import AnalysisContext
from projlens_core.weights.own_parts import TOWER

if TYPE_CHECKING:
    from projlens_core.activations.shift import Condition, ShiftAnalysis
    from projlens_core.stats.lines import NormShiftFit


def written(by_role: "dict[str, ShiftAnalysis]", context: AnalysisContext) -> tuple[dict, list[str]]:
    """The samples' shift under suspect and control as JSON, and as a person reads it."""
    inputs, whose, names = context.inputs, context.whose((TOWER,)), context.images.names
    analysis, case = by_role["suspect"], inputs.case
    document = {
        "base": case.base,
        "suspect": case.suspect,
        "trigger": inputs.spec.to_dict() if inputs.spec else None,
        **_summary(analysis),
        "samples": [
            {"image": image} | {c: _sample(condition, i) for c, condition in analysis.conditions.items()}
            for i, image in enumerate(names)
        ],
    }
    if "control" in by_role:
        document["control"] = {"model": case.control} | _summary(by_role["control"])
    lines = [*_as_text(by_role, names), *(f"- {sentence}" for sentence in whose.sentences)]
    return document | {"parts": whose.parts()}, lines


def _summary(analysis: "ShiftAnalysis") -> dict:
    """The figures of one projector against base, along the universal drift direction of all images."""
    return {
        "direction": {
            "kind": analysis.direction.kind,
            "explained": analysis.direction.explained,
            "singular_values": analysis.direction.singular_values[:30].tolist(),
        },
        "direction_cosine": analysis.direction_cosine,
        "fit": {name: asdict(condition.fit) for name, condition in analysis.conditions.items()},
        "separation": asdict(analysis.separation) if analysis.separation else None,
        "null": asdict(analysis.null),
        "contrast": {
            name: float(value.mean()) for name, value in (vars(analysis.contrast) if analysis.contrast else {}).items()
        }
        or None,
    }


def _sample(condition: "Condition", i: int) -> dict[str, float]:
    return {"mean": float(condition.sample_mean[i]), "max": float(condition.sample_max[i])}


def _as_text(by_role: "dict[str, ShiftAnalysis]", names: list[str]) -> list[str]:
    """A few lines for suspect and control, then a line for each image."""
    analysis, lines = by_role["suspect"], []
    for who, each in by_role.items():
        lines.append(f"{who}: {each.direction.explained:.1%} of the embedding shift lies along one direction")
        lines += [f"  {name}: {_fit(condition.fit)}" for name, condition in each.conditions.items()]
        if each.separation is not None:
            apart = each.separation
            lines.append(f"  cosine of clean and triggered drift directions {each.direction_cosine:.3f}")
            lines.append(
                f"  separation of triggered from clean: AUROC {apart.auroc:.3f} ({apart.low:.3f} to {apart.high:.3f})"
            )
    lines += ["", "\t".join(("image", "clean mean", "max", *(("triggered mean", "max") if analysis.triggered else ())))]
    for i, name in enumerate(names):
        figures = [_sample(condition, i) for condition in analysis.conditions.values()]
        lines.append("\t".join([name, *(f"{value:.4g}" for figure in figures for value in figure.values())]))
    return lines


def _fit(fit: "NormShiftFit") -> str:
    if fit.note:
        return fit.note
    return (
        f"shift against norm r {fit.r:.3f} ({fit.low:.3f} to {fit.high:.3f}), slope {fit.slope:.4g}, {fit.n} tokens, "
        f"resampled by {fit.resampled}"
    )
