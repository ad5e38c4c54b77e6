"""Rates with their intervals."""

from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd

from projlens_core.charts.style import PROJECTORS, finished, layered
from projlens_core.stats.rate import Rate


def rates(title: str, rates_by_role: Mapping[str, Rate], of: str) -> alt.LayerChart:
    """One share of what `of` names per projector, as a dot with its 95 % interval, on the full scale of 0 to 100 %."""
    frame = pd.DataFrame(
        [
            {
                "projector": role,
                "label": f"{role}  {r.rate:.0%}",
                "rate": r.rate,
                "low": r.low,
                "high": r.high,
                "of": f"{r.hits} of {r.n}",
            }
            for role, r in rates_by_role.items()
        ]
    )
    tooltip = [
        alt.Tooltip("projector:N"),
        alt.Tooltip("rate:Q", format=".1%"),
        alt.Tooltip("low:Q", title="95 % interval from", format=".1%"),
        alt.Tooltip("high:Q", title="to", format=".1%"),
        alt.Tooltip("of:N", title="count"),
    ]
    y = alt.Y("label:N", title=None, sort=None, axis=alt.Axis(labelPadding=12, labelLimit=200, ticks=False))
    color = alt.Color("projector:N", scale=PROJECTORS, legend=None)
    x: dict[str, Any] = {
        "scale": alt.Scale(domain=[0, 1]),
        "axis": alt.Axis(format="%", tickCount=5),
        "title": f"share of {of}",
    }
    bounds = alt.Chart(frame).mark_rule(strokeWidth=3).encode(x=alt.X("low:Q", **x), x2="high:Q", y=y, color=color)
    dots = (
        alt.Chart(frame)
        .mark_circle(size=110, opacity=1)
        .encode(x=alt.X("rate:Q", **x), y=y, color=color, tooltip=tooltip)
    )
    return finished(layered(bounds, dots), title, 30 * len(rates_by_role) + 75)
