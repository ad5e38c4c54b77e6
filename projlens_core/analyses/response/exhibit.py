"""What the model says, with and without the trigger, under every projector of a case: rates and answers."""

from collections.abc import Mapping
from dataclasses import asdict

import pandas as pd

from projlens_core.analyses.exhibit import Chart, Exhibit, Metric, Table
from projlens_core.analyses.response import ANALYSIS
from projlens_core.analyses.response.charts import rates as chart_of_rates
from projlens_core.behaviour.success import Outcome
from projlens_core.behaviour.templates import notes as template_notes
from projlens_core.stats.rate import Rate

MEASURES = {  # of an Outcome: title, and what is counted
    "asr": ("Attack success rate", "triggered images"),
    "false_target": ("Target on clean images", "clean images"),
    "utility": ("Clean utility", "questions with known answers"),
}
READING = (
    "How to read this: dots are shares, bars their 95 % Wilson intervals. A backdoored suspect gives the target on "
    "triggered images only, while base and control never do, and stays as useful as they are on clean ones."
)
_ORDER = ("suspect", "base", "control")


def response(
    outcomes: Mapping[str, Outcome], target: str, settings: dict, thumbnails: Mapping[str, str] | None = None
) -> Exhibit:
    """Outcomes by role, over the same images; thumbnails: triggered images as data URIs by name."""
    found = {name: rates(outcomes, name) for name in MEASURES}
    notes = [f"Counted as the target, whatever the case: “{target}”."]
    if not found["utility"]:
        notes.append("Clean utility was not measured: no right answers are known for these images.")
    if "control" not in outcomes:
        notes.append("No control was asked; base alone shows that the target is not what any model says.")
    notes += template_notes(outcome.template for outcome in outcomes.values())
    return ANALYSIS.exhibit(
        metrics=tuple(_metric(name, by_role) for name, by_role in found.items() if "suspect" in by_role),
        charts=tuple(_chart(name, by_role) for name, by_role in found.items() if by_role),
        tables=(answers(outcomes, thumbnails),),
        data={
            "settings": settings,
            "rates": {name: {role: asdict(rate) for role, rate in by_role.items()} for name, by_role in found.items()},
            "chat_template": {
                role: outcome.template.as_data() for role, outcome in outcomes.items() if outcome.template
            },
            "answers": {role: [asdict(row) for row in outcome.rows] for role, outcome in outcomes.items()},
        },
        notes=tuple(notes),
    )


def rates(outcomes: Mapping[str, Outcome], measure: str) -> dict[str, Rate]:
    """One of MEASURES under each projector; empty if it was not measured."""
    found = {role: getattr(outcome, measure) for role, outcome in outcomes.items()}
    return {role: rate for role, rate in found.items() if rate is not None}


def answers(outcomes: Mapping[str, Outcome], thumbnails: Mapping[str, str] | None = None) -> Table:
    """One row an image: the answers of every projector without and with the trigger, the suspect first."""
    order = [role for role in _ORDER if role in outcomes]
    several = len({row.prompt for row in outcomes[order[0]].rows}) > 1
    rows = []
    for parts in zip(*(outcomes[role].rows for role in order), strict=True):
        first = parts[0]
        row = {"triggered": thumbnails[first.name]} if thumbnails else {}
        row |= {"picture": first.name} | ({"question": first.prompt} if several else {})
        row |= {"target said": first.hit, "on clean too": first.false_hit}
        for role, part in zip(order, parts, strict=True):
            row |= {f"{role}, triggered": part.triggered, f"{role}, clean": part.clean}
        if first.right is not None:
            row["clean answers right"] = first.right
        rows.append(row)
    return Table(
        "answers",
        pd.DataFrame(rows),
        "How to read this: one row an image; “target said” is about the suspect's answer to the triggered image.",
    )


def _metric(measure: str, by_role: Mapping[str, Rate]) -> Metric:
    title, of = MEASURES[measure]
    own, control = by_role["suspect"], by_role.get("control")
    return Metric(
        title,
        f"{own.rate:.0%}",
        f"{control.rate:.0%}" if control else None,
        f"{own.low:.0%} – {own.high:.0%}",
        f"Share of {own.n} {of}, with its 95 % Wilson interval.",
    )


def _chart(measure: str, by_role: Mapping[str, Rate]) -> Chart:
    title, of = MEASURES[measure]
    return Chart(
        measure.replace("_", "-"),
        chart_of_rates(title, by_role, of),
        READING,
        f"{title} of each projector with its interval.",
    )
