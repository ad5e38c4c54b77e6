"""A repair before and after: shares by projector with their intervals."""

from collections.abc import Collection, Mapping
from typing import Any

import altair as alt
import pandas as pd

from projlens_core.charts import palette
from projlens_core.charts.style import finished, key_of, layered
from projlens_core.stats.rate import Rate

REPAIRED = palette.CHOSEN
COLOURS = alt.Scale(
    domain=["base", "suspect", "repaired", "control"],
    range=[palette.BASE, palette.SUSPECT, REPAIRED, palette.CONTROL],
)


def curves(roles: Collection[str]) -> alt.Scale:
    """Colours of the projectors' curves, of these alone."""
    known = {"suspect": palette.SUSPECT, "repaired": REPAIRED, "control": palette.CONTROL}
    own = {role: colour for role, colour in known.items() if role in roles}
    return alt.Scale(domain=list(own), range=list(own.values()))


def before_and_after(by_measure: Mapping[str, Mapping[str, Rate]]) -> alt.LayerChart:
    """One row per projector and measure ("ASR, found trigger"), a dot with its 95 % interval on 0 to 100 %."""
    frame = pd.DataFrame(
        [
            {
                "measure": measure, "projector": role, "row": f"{measure} – {role}", "rate": r.rate, "low": r.low,
                "high": r.high, "of": f"{r.hits} of {r.n}",
            }
            for measure, rates in by_measure.items()
            for role, r in rates.items()
        ]
    )  # fmt: skip
    scale, axis = alt.Scale(domain=[0, 1]), alt.Axis(format="%", tickCount=5)
    x: dict[str, Any] = {"scale": scale, "axis": axis, "title": "share of answers"}
    y = alt.Y("row:N", title=None, sort=None, axis=alt.Axis(labelLimit=260, labelPadding=10, ticks=False))
    colour = alt.Color("projector:N", scale=COLOURS, legend=key_of(frame.projector, COLOURS, orient="top"))
    tooltip = [
        alt.Tooltip("measure:N"),
        alt.Tooltip("projector:N"),
        alt.Tooltip("rate:Q", format=".1%"),
        alt.Tooltip("low:Q", title="95 % interval from", format=".1%"),
        alt.Tooltip("high:Q", title="to", format=".1%"),
        alt.Tooltip("of:N", title="count"),
    ]
    bounds = alt.Chart(frame).mark_rule(strokeWidth=3).encode(x=alt.X("low:Q", **x), x2="high:Q", y=y, color=colour)
    dots = (
        alt.Chart(frame)
        .mark_circle(size=110, opacity=1)
        .encode(x=alt.X("rate:Q", **x), y=y, color=colour, tooltip=tooltip)
    )
    return finished(layered(bounds, dots), "Before and after, on fresh images", 24 * len(frame) + 100)
