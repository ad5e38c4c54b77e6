"""A trigger from none to full: push, norm and answer over the same axis, and where the answer flips."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from projlens_core.behaviour.flip import Flip
from projlens_core.charts import palette
from projlens_core.charts.style import PROJECTORS, finished, key_of, layered

HEIGHT = 190  # px, title and axis included
_DOSE: dict[str, Any] = {"title": "dose of the trigger", "scale": alt.Scale(domain=[-0.03, 1.03], nice=False)}
_PERCENT = alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1])
SAID = alt.Scale(domain=[False, True], range=[palette.BASE, palette.TRIGGERED])


def curve(
    title: str,
    values: Mapping[str, Sequence[float] | np.ndarray],
    doses: Sequence[float],
    here: float,
    measure: str,
    flipped: Flip | None,
    ends: tuple[float, float],
) -> alt.LayerChart:
    """One line per projector, {role: values at the doses}, the dose on screen as an upright line with its values.

    ends: the least and the largest value at any dose, so that the scale stays while more and more of it is drawn.
    """
    frame = pd.DataFrame(
        [
            {"projector": role, "dose": dose, "value": float(value), "here": dose == here}
            for role, line in values.items()
            for dose, value in zip(doses, line, strict=True)
        ]
    )
    y = alt.Y(
        "value:Q", title=measure, scale=alt.Scale(domain=list(map(float, ends)), zero=False), axis=alt.Axis(tickCount=4)
    )
    encoded: dict[str, Any] = {
        "x": alt.X("dose:Q", axis=_PERCENT, **_DOSE),
        "y": y,
        "color": alt.Color(
            "projector:N",
            scale=PROJECTORS,
            legend=key_of(values, PROJECTORS, orient="top", padding=0) if len(values) > 1 else None,
        ),
    }
    tooltips = [
        alt.Tooltip("projector:N"),
        alt.Tooltip("dose:Q", format=".0%"),
        alt.Tooltip("value:Q", title=measure, format=".4g"),
    ]
    lines = alt.Chart(frame).mark_line(strokeWidth=2.5).encode(**encoded)
    dots = alt.Chart(frame).mark_circle(size=30, opacity=1).encode(**encoded, tooltip=tooltips)
    now = alt.Chart(frame[frame.here]).mark_circle(size=170, opacity=1).encode(**encoded, tooltip=tooltips)
    return finished(layered(*_marks(here, flipped), lines, dots, now), title, HEIGHT)


def answers(
    title: str, said: Mapping[str, Mapping[float, tuple[str, bool]]], here: float, flipped: Flip | None, hit: str
) -> alt.LayerChart:
    """One dot per answer, {role: {dose: (answer, whether it is a hit)}}, filled where it is; `hit` says what."""
    rows = [
        {"projector": role, "dose": dose, "answer": text, "hit": found}
        for role, line in said.items()
        for dose, (text, found) in line.items()
    ]
    frame = pd.DataFrame(rows, columns=["projector", "dose", "answer", "hit"])
    dots = (
        alt.Chart(frame)
        .mark_point(size=150, strokeWidth=2.5, filled=False, opacity=1)
        .encode(
            x=alt.X("dose:Q", axis=_PERCENT, **_DOSE),
            y=alt.Y("projector:N", sort=list(said), title=None, scale=alt.Scale(domain=list(said))),
            color=alt.Color("hit:N", scale=SAID, legend=None),
            fill=alt.condition("datum.hit", alt.value(palette.TRIGGERED), alt.value("transparent")),
            tooltip=[
                alt.Tooltip("projector:N"),
                alt.Tooltip("dose:Q", format=".0%"),
                alt.Tooltip("answer:N"),
                alt.Tooltip("hit:N", title=hit),
            ],
        )
    )
    return finished(layered(*_marks(here, flipped), dots), title, HEIGHT)


def _marks(here: float, flipped: Flip | None) -> list[alt.Chart]:
    """The dose on screen as a line and, where there is one, the flip as a band between the doses that enclose it."""
    x = alt.X("dose:Q", axis=_PERCENT, **_DOSE)
    drawn = [
        alt.Chart(pd.DataFrame({"dose": [here]})).mark_rule(strokeWidth=1.5, color=palette.CHOSEN).encode(x=x),
    ]
    if flipped is not None:
        low = flipped.at if flipped.below is None else flipped.below
        band = pd.DataFrame({"dose": [low], "to": [flipped.at], "said": [f"flips at {flipped.at:.0%}"]})
        shade = alt.Chart(band).mark_rect(color=palette.TRIGGERED, opacity=0.22).encode(x=x, x2="to:Q")
        edge = (
            alt.Chart(band)
            .mark_rule(color=palette.TRIGGERED, strokeWidth=2, strokeDash=[5, 3])
            .encode(x=alt.X("to:Q", **_DOSE))
        )
        drawn = [shade, edge, *drawn]
    return drawn
