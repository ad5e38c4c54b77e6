"""The tables and the JSON of a set's embedding shift."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd

from projlens_core.activations.agreement import Agreement
from projlens_core.activations.embedding_spectrum import Band, band
from projlens_core.activations.set_shift import SetCondition, SetShift
from projlens_core.analyses.exhibit import Table
from projlens_core.stats.lines import NormAxis, NormShift

TOP = 30  # ranks shown and written, as in the paper's figures

Roles = Mapping[str, SetShift]  # "suspect" and, where there is one, "control"
Relations = Mapping[str, Mapping[str, NormShift]]  # by role and condition


def images(by_role: Roles) -> Table:
    """One row per image, the farthest pushed by the suspect first: shift, place, and how universal its direction is."""
    suspect = by_role["suspect"]
    condition = "triggered" if "triggered" in suspect.conditions else "clean"
    columns: dict[str, object] = {"picture": suspect.conditions["clean"].ranking.names}
    for role, one in by_role.items():
        for name, part in one.conditions.items():
            who = f"{role}, {name}"
            columns |= {
                f"{who}: place": part.ranking.places(),
                f"{who}: mean": part.ranking.mean,
                f"{who}: largest": part.ranking.largest,
                f"{who}: own v₀": part.cosines,
            }
    frame = pd.DataFrame(columns).iloc[suspect.conditions[condition].ranking.order()].reset_index(drop=True)
    return Table(
        "pictures-ranked",
        frame,
        "How to read this: mean and largest |ΔE·v₀| over an image's patches, along each projector's universal drift "
        "direction, with the image's place among all; own v₀ is |cos| of its own direction with that one.",
    )


def own_directions(by_role: Roles) -> Table:
    """One row per image, the least universal under the suspect first: how closely its own direction follows v₀."""
    columns: dict[str, object] = {"picture": by_role["suspect"].conditions["clean"].ranking.names}
    for role, one in by_role.items():
        columns |= {f"{role}, {name}": part.cosines for name, part in one.conditions.items()}
    frame = pd.DataFrame(columns)
    return Table(
        "own-directions",
        frame.sort_values(frame.columns[len(by_role["suspect"].conditions)], ignore_index=True),
        "How to read this: |cos| between an image's own drift direction and the universal one of each projector.",
    )


def norm_shift(related: Relations, norm: NormAxis) -> Table:
    """The norm–shift relation, least squares beside the robust line."""
    rows = [
        {
            "projector": role,
            "condition": condition,
            "r": found.fit.r,
            "r from": found.fit.low,
            "r to": found.fit.high,
            "slope": found.fit.slope,
            "slope from": found.fit.slope_low,
            "slope to": found.fit.slope_high,
            "robust slope": found.robust.slope,
            "robust from": found.robust.slope_low,
            "robust to": found.robust.slope_high,
            "tokens": found.fit.n,
            "outliers": len(found.outliers.score),
            "resampled by": found.fit.resampled,
            "note": found.fit.note or "",
        }
        for role, by_condition in related.items()
        for condition, found in by_condition.items()
    ]
    return Table(
        f"norm-shift-{norm}",
        pd.DataFrame(rows),
        "How to read this: where the robust slope (Theil–Sen) leaves the interval of the least-squares one, a few "
        "extreme patches make the line. Intervals are 95 %; no patch is left out of a fit.",
    )


def spectrum(by_role: Roles) -> Table:
    """Mean singular value and energy at each rank."""
    parts = [
        pd.DataFrame(
            {"projector": role, "condition": name, "rank": np.arange(1, len(part.spectrum.values[0, :TOP]) + 1)}
            | _columns("σ", band(part.spectrum.values[:, :TOP]))
            | _columns("energy", band(part.spectrum.energy[:, :TOP]))
        )
        for role, one in by_role.items()
        for name, part in one.conditions.items()
    ]
    return Table(
        "embedding-spectrum",
        pd.concat(parts, ignore_index=True),
        "How to read this: over images, at each rank; from and to bound the mean with 95 % confidence.",
    )


def _columns(name: str, curve: Band) -> dict[str, np.ndarray]:
    figures = {"mean": curve.mean, "std": curve.std, "from": curve.low, "to": curve.high}
    return {f"{name}, {figure}": values for figure, values in figures.items()}


def agreement(by_role: Roles) -> Table:
    """Angles and energy inside what each ΔW reaches, by number of components."""
    parts = [
        pd.DataFrame(
            {"projector": role, "ΔW": each.reach.name, "components": np.arange(1, len(each.share) + 1)}
            | {"dimensions": each.reach.sizes}
            | {f"angle, {name} (°)": angles for name, angles in each.angles.items()}
            | {"random direction (°)": each.chance_angle, "97.5 % of them beyond (°)": each.chance_low}
            | {"share of ‖ΔE‖² inside": each.share, "by chance": each.chance_share}
        )
        for role, one in by_role.items()
        for each in one.agreements
    ]
    return Table(
        "agreement",
        pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(),
        "How to read this: the angle is between the drift direction (of all, clean, triggered images) and the span "
        "that so many components reach; by chance is what a span of that many dimensions holds of any direction.",
    )


def outliers(related: Relations, names: Sequence[str]) -> Table:
    """Every patch far off the robust norm–shift line, farthest first; names are those of the images."""
    parts = [
        pd.DataFrame(
            {
                "projector": role,
                "condition": condition,
                "picture": [names[i] for i in found.outliers.image],
                "patch": found.outliers.token + 1,
                "score": found.outliers.score,
                "norm": found.norms.numpy()[found.outliers.image, found.outliers.token],
                "shift": found.shift.numpy()[found.outliers.image, found.outliers.token],
            }
        )
        for role, by_condition in related.items()
        for condition, found in by_condition.items()
    ]
    return Table(
        "outliers",
        pd.concat(parts, ignore_index=True),
        "How to read this: patches off the robust line by more than 3.5 robust standard deviations (the score), "
        "counted row by row from 1; they take part in every fit.",
    )


def as_data(one: SetShift) -> dict:
    """One projector as JSON-ready values."""
    return {
        "direction": {
            "explained": one.direction.explained,
            "singular_values": one.direction.singular_values[:TOP].tolist(),
        },
        "norm": one.norm,
        "agreement": [_agreement_data(each) for each in one.agreements],
        **{name: _condition_data(part) for name, part in one.conditions.items()},
    }


def _agreement_data(each: Agreement) -> dict:
    return {
        "reach": each.reach.name,
        "dimensions": each.reach.sizes.tolist(),
        "angles": {name: angles.tolist() for name, angles in each.angles.items()},
        "share": each.share.tolist(),
        "chance": {
            "angle": each.chance_angle.tolist(),
            "low": each.chance_low.tolist(),
            "share": each.chance_share.tolist(),
        },
    }


def _condition_data(part: SetCondition) -> dict:
    curves = {"values": part.spectrum.values, "energy": part.spectrum.energy}
    bands = {name: band(curve[:, :TOP]) for name, curve in curves.items()}
    return {
        "spectrum": {
            name: {figure: getattr(each, figure).tolist() for figure in ("mean", "std", "low", "high")}
            for name, each in bands.items()
        },
        "fit": asdict(part.relation.fit),
        "robust_fit": asdict(part.relation.robust),
        "outliers": [
            {"image": part.ranking.names[i], "token": int(token), "score": float(score)}
            for i, token, score in zip(
                part.relation.outliers.image, part.relation.outliers.token, part.relation.outliers.score, strict=True
            )
        ],
        "ranking": [
            {
                "image": part.ranking.names[i],
                "mean": float(part.ranking.mean[i]),
                "max": float(part.ranking.largest[i]),
                "cosine": float(part.cosines[i]),
            }
            for i in part.ranking.order()
        ],
    }
