"""Static separability of a case: base against suspect and control, beside norms alone and shuffled labels."""

from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import pandas as pd

from projlens_core.activations.separability import Gain, Separability, gain
from projlens_core.analyses.exhibit import Chart, Exhibit, Metric, Table, with_minus
from projlens_core.analyses.separability import ANALYSIS, charts

LEVEL = 0.05  # of p, for base to be said to separate
CHANCE = 0.5  # AUROC


def separability(by_role: Mapping[str, Separability], names: tuple[str, ...], settings: dict) -> Exhibit:
    """by_role holds "base", "suspect" and perhaps "control", all of the same images, called `names`."""
    gains = {role: gain(one, by_role["base"]) for role, one in by_role.items() if role != "base"}
    beyond = gain(by_role["suspect"], by_role["control"]) if "control" in by_role else None
    return ANALYSIS.exhibit(
        metrics=_metrics(by_role, gains),
        charts=_charts(by_role, names),
        tables=(_table(by_role, gains), _values(by_role, names)),
        data={"settings": settings}
        | {role: _as_data(one, gains.get(role)) for role, one in by_role.items()}
        | {"suspect over control": asdict(beyond) if beyond else None}
        | {"images": _values(by_role, names).frame.to_dict("records")},
        notes=tuple(_notes(by_role, gains["suspect"], beyond)),
    )


def _metrics(by_role: Mapping[str, Separability], gains: Mapping[str, Gain]) -> tuple[Metric, ...]:
    suspect, control, base = by_role["suspect"], by_role.get("control"), by_role["base"]
    return (
        Metric(
            "AUROC, suspect",
            f"{suspect.auroc.auroc:.2f}",
            f"{control.auroc.auroc:.2f}" if control else None,
            f"{suspect.auroc.low:.2f} – {suspect.auroc.high:.2f}, p = {suspect.chance.p:.2g}",
            f"Of {suspect.auroc.triggered} triggered images against their clean twins, cross-validated in "
            f"{suspect.folds} folds with twins kept together. 0.5 is chance; p: how often shuffled labels reach it.",
        ),
        Metric(
            "Gain over base",
            with_minus(f"{gains['suspect'].difference:+.2f}"),
            with_minus(f"{gains['control'].difference:+.2f}") if control else None,
            _interval(gains["suspect"]),
            f"Suspect's AUROC minus that of base, which is {base.auroc.auroc:.2f}: what fine-tuning added.",
        ),
        Metric(
            "Norms alone",
            f"{suspect.norms.auroc:.2f}",
            f"{control.norms.auroc:.2f}" if control else None,
            f"{suspect.norms.low:.2f} – {suspect.norms.high:.2f}",
            "AUROC of the same classifier if it is given only the mean norm of an image's tokens.",
        ),
        Metric(
            "Shuffled labels",
            f"{suspect.chance.mean:.2f}",
            f"{control.chance.mean:.2f}" if control else None,
            f"{suspect.chance.low:.2f} – {suspect.chance.high:.2f}",
            f"The suspect's AUROC where a coin says which twin is triggered: mean of {suspect.chance.shuffles:,} "
            "and the range of 95 % of them, which is what chance gives on these images.",
        ),
    )


def _charts(by_role: Mapping[str, Separability], names: tuple[str, ...]) -> tuple[Chart, ...]:
    return (
        Chart(
            "auroc",
            charts.aurocs("Separation, triggered from clean", by_role),
            "How to read this: full dots are a linear classifier on mean-pooled embeddings, hollow ones norms alone, "
            "lines 95 % intervals, grey bars 95 % of shuffled labels. Base shows how visible the trigger is by itself; "
            "only what the suspect adds to that, and the control does not, speaks of a backdoor.",
            "AUROC of base, suspect and control with intervals, beside norms alone and shuffled labels.",
        ),
        Chart(
            "decision values",
            charts.scores("Decision value of every image", by_role, names),
            "How to read this: one dot per image, judged by a classifier that saw neither it nor its twin; the less "
            "the two colours overlap, the better the separation.",
            "Decision values of clean and triggered images, by projector.",
        ),
    )


def _table(by_role: Mapping[str, Separability], gains: Mapping[str, Gain]) -> Table:
    rows = []
    for role, one in by_role.items():
        added = gains.get(role)
        rows.append(
            {
                "projector": role,
                "AUROC": one.auroc.auroc,
                "from": one.auroc.low,
                "to": one.auroc.high,
                "gain over base": added.difference if added else None,
                "gain from": added.low if added else None,
                "gain to": added.high if added else None,
                "norms alone": one.norms.auroc,
                "shuffled, mean": one.chance.mean,
                "shuffled, 97.5 %": one.chance.high,
                "p": one.chance.p,
            }
        )
    return Table(
        "separability",
        pd.DataFrame(rows),
        "How to read this: intervals are 95 %; that of a gain is a bootstrap over pairs, and is empty where both "
        "projectors tell all images apart.",
        {"p": "How often shuffled labels reach the AUROC.", "norms alone": "AUROC from the mean token norm."},
    )


def _values(by_role: Mapping[str, Separability], names: tuple[str, ...]) -> Table:
    columns = {"image": list(names)}
    for role, one in by_role.items():
        columns |= {f"{role}, clean": one.clean.tolist(), f"{role}, triggered": one.triggered.tolist()}
    return Table(
        "decision values",
        pd.DataFrame(columns),
        "How to read this: above 0 the classifier takes the image for triggered.",
    )


def _as_data(one: Separability, added: Gain | None) -> dict:
    return {
        "auroc": asdict(one.auroc),
        "norms": asdict(one.norms),
        "chance": asdict(one.chance),
        "gain": asdict(added) if added else None,
        "folds": one.folds,
    }


def _notes(by_role: Mapping[str, Separability], added: Gain, beyond: Gain | None) -> list[str]:
    notes = []
    base = by_role["base"]
    if base.chance.p <= LEVEL and base.auroc.low > CHANCE:
        notes.append(
            f"Base separates the images too, with AUROC {base.auroc.auroc:.2f} ({base.auroc.low:.2f} – "
            f"{base.auroc.high:.2f}): that much the trigger shows without any fine-tuning, and only what the suspect "
            "has beyond it can be the suspect's doing."
        )
    notes.append(f"Suspect against base: {_sentence(added)}")
    if beyond is not None:
        notes.append(f"Suspect against control: {_sentence(beyond)}")
    else:
        notes.append("No control: an honest fine-tune may also separate the images better than base does.")
    return notes


def _sentence(gain: Gain) -> str:
    """The difference of two AUROCs in a sentence that claims no more than its interval does."""
    if np.isnan(gain.low):
        return "both separate all images, so no difference can be seen."
    what = with_minus(f"AUROC {gain.difference:+.3f} (95 % interval {gain.low:+.3f} to {gain.high:+.3f})")
    return f"{what}, inconclusive." if gain.low <= 0 <= gain.high else f"{what}."


def _interval(of: Gain) -> str | None:
    return None if np.isnan(of.low) else with_minus(f"{of.low:.2f} – {of.high:.2f}")
