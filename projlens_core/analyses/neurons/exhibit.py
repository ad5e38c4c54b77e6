"""Hidden units of the projectors of a case: is there a group that only the trigger switches on?"""

from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import pandas as pd

from projlens_core.activations.neurons import QUIET, SWITCHED_ON, NeuronFinding, RankedBy
from projlens_core.analyses.exhibit import Chart, Exhibit, Metric, Table
from projlens_core.analyses.neurons import ANALYSIS, charts
from projlens_core.analyses.neurons.answer import answer, gained
from projlens_core.charts import palette
from projlens_core.runtime.required import required
from projlens_core.stats.split_null import RATE, Count

TOP = 20  # units drawn and listed of each ranking
SHOWN = {"suspect": palette.SUSPECT, "control": palette.CONTROL}  # beside each other; base is in every number
RANKINGS: dict[RankedBy, tuple[str, str]] = {  # title of the chart, and what its bars measure
    "difference": ("Largest difference", "mean |a|, triggered − clean"),
    "ratio": ("Largest ratio", "mean |a|, triggered / clean"),
    "quiescent-active": ("Quiet on clean, active on triggered", "mean |a| on triggered images"),
    "change": ("Largest trigger-activated change", "mean |a_triggered − a_clean|"),
    "patch": ("Largest change of one patch", "|a_triggered − a_clean| of each image's most changed patch, mean"),
}
_CHANCE = {
    "difference": "the pale bar is how far halves of the clean images differ by chance",
    "ratio": "the pale bar is the ratio that halves of the clean images reach by chance",
    "quiescent-active": "the pale bar is what the unit's clean magnitude may grow to by chance",
    "change": "the pale bar is what another image does, instead of the trigger",
    "patch": "the pale bar is what another image does, instead of the trigger",
}
COLUMNS = {
    "Neuron_ID": "The unit's row in the layer before the activation function, from 0.",
    "Diff_Mag": "FT_Mag_P − FT_Mag_C.",
    "Ratio_Mag": "FT_Mag_P / FT_Mag_C; inf where the unit is silent on clean images only, empty where on both.",
    "Diff_Freq": "FT_Freq_P − FT_Freq_C.",
    "FT_Mag_P": "Suspect, triggered images: mean |a| over images and patches.",
    "FT_Mag_C": "Suspect, clean images: mean |a|.",
    "Base_Mag_P": "Base, triggered images: mean |a|.",
    "Base_Mag_C": "Base, clean images: mean |a|.",
    "FT_Freq_P": "Suspect, triggered images: share of patches at which the unit fires (a > 0).",
    "FT_Freq_C": "Suspect, clean images: share of patches at which it fires.",
    "Base_Freq_P": "Base, triggered images: share of patches at which it fires.",
    "Base_Freq_C": "Base, clean images: share of patches at which it fires.",
}


def neurons(findings: Mapping[str, NeuronFinding], settings: dict) -> Exhibit:
    """findings by role: base, suspect and, where there is one, control; settings as cases.settings makes them."""
    suspect = findings["suspect"]
    return ANALYSIS.exhibit(
        metrics=_metrics(findings),
        charts=(*_scatters(findings), *_distributions(findings), *(_ranking(findings, by) for by in RANKINGS)),
        tables=(table(findings),),
        data={
            "settings": settings,
            "answer": answer(findings),
            "findings": {role: _data(finding) for role, finding in findings.items()},
            "rankings": {by: suspect.units.ranking(by)[:TOP].tolist() for by in RANKINGS},
            "units": _units(findings),
        },
        notes=_notes(findings),
    )


def table(findings: Mapping[str, NeuronFinding]) -> Table:
    """One row per unit, columns as in the paper's table: FT the suspect, P triggered, C clean."""
    suspect, base = findings["suspect"].units, findings["base"].units
    figures = {
        "Neuron_ID": np.arange(len(suspect.change)),
        "Diff_Mag": suspect.difference,
        "Ratio_Mag": suspect.ratio,
        "Diff_Freq": suspect.triggered.frequency - suspect.clean.frequency,
        "FT_Mag_P": suspect.triggered.magnitude,
        "FT_Mag_C": suspect.clean.magnitude,
        "Base_Mag_P": base.triggered.magnitude,
        "Base_Mag_C": base.clean.magnitude,
        "FT_Freq_P": suspect.triggered.frequency,
        "FT_Freq_C": suspect.clean.frequency,
        "Base_Freq_P": base.triggered.frequency,
        "Base_Freq_C": base.clean.frequency,
    }
    return Table(
        "neurons",
        pd.DataFrame({name: figures[name] for name in COLUMNS}),
        "How to read this: one row per hidden unit; FT is the suspect, P triggered, C clean. Mag is the mean |a| over "
        "images and patches, Freq the share of patches at which the unit fires.",
        COLUMNS,
    )


def _metrics(findings: Mapping[str, NeuronFinding]) -> tuple[Metric, ...]:
    suspect, base, control = findings["suspect"], findings["base"], findings.get("control")
    units = len(suspect.switches)
    cards = [
        _counted(
            "Switched on by the trigger",
            suspect.switched_on,
            control.switched_on if control else None,
            f"Of the {QUIET:.0%} least active on clean images, those that the trigger raises beyond chance and at "
            f"least {SWITCHED_ON:g}-fold. In base: {_number(base.switched_on)}.",
        ),
        _counted(
            "Moved unlike in base",
            gained(suspect),
            gained(control),
            f"Of {units} units, those in which suspect minus base reacts to the trigger further than halves of the "
            f"clean images differ; at most {RATE:.0%} of them are expected to be there by chance.",
        ),
        _counted(
            "Moved by the trigger at all",
            suspect.response.moved,
            control.response.moved if control else None,
            f"Of {units} units, those whose magnitude the trigger moves further than halves of the clean images "
            f"differ. A trigger changes the image, so any projector may. In base: {_number(base.response.moved)}.",
        ),
    ]
    apart, theirs = suspect.distance, control.distance if control else None
    cards.append(
        Metric(
            "Distance of distributions",
            f"{apart.value:.1%}" if apart else "–",
            f"{theirs.value:.1%}" if theirs else None,
            f"{apart.low:.1%} – {apart.high:.1%}" if apart else None,
            "Mean distance between the quantiles of clean and of triggered magnitudes over all units, as a share of "
            "the mean magnitude. " + (f"Halves of the clean images: up to {apart.chance:.1%}." if apart else ""),
        )
    )
    return tuple(cards)


def _counted(label: str, count: Count | None, control: Count | None, meaning: str) -> Metric:
    """A card; of an interval that is one number only, what that means."""
    interval = f"{count.low} – {count.high}" if count else None
    if count and count.low == count.high:
        interval = f"{count.low} in 95 % of resamples"
    return Metric(label, _number(count), str(control.value) if control else None, interval, meaning)


def _number(count: Count | None) -> str:
    return f"{count.value} of {count.of}" if count else "–"


def _scatters(findings: Mapping[str, NeuronFinding]) -> tuple[Chart, ...]:
    limit = _limit(findings)
    return tuple(
        Chart(
            f"clean-against-triggered-{role}",
            charts.clean_against_triggered(f"{role.capitalize()}: every hidden unit", findings[role], colour, limit),
            "How to read this: one dot per unit; on the dashed line it is as active on triggered images as on clean "
            "ones, in the grey band no further from it than halves of the clean images are from each other. Trigger "
            "neurons would stand high above the line, at the left.",
            f"Mean activation of every hidden unit on triggered against clean images, {role}.",
        )
        for role, colour in SHOWN.items()
        if role in findings
    )


def _distributions(findings: Mapping[str, NeuronFinding]) -> tuple[Chart, ...]:
    limit = _limit(findings)
    return tuple(
        Chart(
            f"distribution-{role}",
            charts.distributions(f"{role.capitalize()}: magnitudes of all units", findings[role].units, limit),
            "How to read this: how many units are how active; where blue and orange cover each other, clean and "
            "triggered distributions coincide, as the paper finds.",
            f"Distribution of the units' mean activation on clean and on triggered images, {role}.",
        )
        for role in ("suspect", "control", "base")
        if role in findings
    )


def _ranking(findings: Mapping[str, NeuronFinding], by: RankedBy) -> Chart:
    title, measure = RANKINGS[by]
    suspect = findings["suspect"]
    scores = {role: _score(finding, by) for role, finding in findings.items()}
    order = suspect.units.ranking(by)
    chosen = order[np.isfinite(scores["suspect"][order])][:TOP]
    return Chart(
        f"ranking-{by}",
        charts.ranked(
            title,
            measure,
            chosen.tolist(),
            {role: score[chosen] for role, score in scores.items()},
            _chance(suspect, by)[chosen],
        ),
        f"How to read this: bars are the suspect's {len(chosen)} leading units, coloured marks the same units in the "
        f"other projectors; {_CHANCE[by]}.",
        f"{title}: the {len(chosen)} leading hidden units of the suspect, beside base and control.",
    )


def _score(finding: NeuronFinding, by: RankedBy) -> np.ndarray:
    """What a ranking's bars measure: (m,)."""
    units = finding.units
    active = {"quiescent-active": units.triggered.magnitude, "change": units.change, "patch": units.patch}
    return ({"difference": units.difference, "ratio": units.ratio} | active)[by]


def _chance(finding: NeuronFinding, by: RankedBy) -> np.ndarray:
    """What the score of each unit reaches by chance, (m,); NaN where that is not known."""
    units, test = finding.units, finding.response
    clean, reach = units.clean.magnitude, test.cut * test.spread
    match by:
        case "difference":
            return np.copysign(reach, units.difference)
        case "ratio":
            return np.divide(clean + reach, clean, out=np.full(len(clean), np.nan), where=clean > 0)
        case "quiescent-active":
            return clean + reach
        case "patch":
            return units.patch_swap
    return units.swap


def _limit(findings: Mapping[str, NeuronFinding]) -> float:
    """The largest magnitude of any unit, for axes that all projectors share."""
    both = (part.magnitude.max() for f in findings.values() for part in (f.units.clean, f.units.triggered))
    return 1.03 * float(max(both)) or 1.0


def _notes(findings: Mapping[str, NeuronFinding]) -> tuple[str, ...]:
    notes = [answer(findings)]
    if "control" not in findings:
        notes.append("No control: an honest fine-tune changes how units respond too, so a count alone says little.")
    silent = int(np.isinf(findings["suspect"].units.ratio).sum())
    if silent:
        notes.append(f"{silent} units are silent on clean images and not on triggered ones: their ratio is infinite.")
    return tuple(notes)


def _data(finding: NeuronFinding) -> dict:
    return {
        "switched_on": asdict(finding.switched_on) if finding.switched_on else None,
        "switches": finding.switches.nonzero()[0].tolist(),
        "gained": asdict(finding.gain.moved) if finding.gain and finding.gain.moved else None,
        "responding": asdict(finding.response.moved) if finding.response.moved else None,
        "distance": asdict(finding.distance) if finding.distance else None,
        "note": finding.response.note,
    }


def _units(findings: Mapping[str, NeuronFinding]) -> dict[str, list]:
    """The table by column, with change and p values; null where a figure does not exist."""
    suspect = findings["suspect"]
    columns = dict(table(findings).frame.items()) | {
        "Change": suspect.units.change,
        "Change_Other_Picture": suspect.units.swap,
        "Patch_Change": suspect.units.patch,
        "Patch_Change_Other_Image": suspect.units.patch_swap,
        "P_Response": suspect.response.p,
        "P_Gain": required(suspect.gain, "the suspect's gain").p,
    }
    return {
        name: [None if not np.isfinite(value) else value.item() for value in np.asarray(values)]
        for name, values in columns.items()
    }
