"""The suspects of a screening by a score: how they are spread, and what the controls reach."""

from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd

from projlens_core.charts import palette
from projlens_core.charts.style import ROLES, finished, key_of

BINS, HEIGHT = 40, 300


def distribution(title: str, axis: str, suspects: Sequence[float], controls: Sequence[float]) -> alt.LayerChart:
    """A histogram of the suspects' scores, with a grey band from the least to the highest of the controls'."""
    values = np.asarray(suspects, dtype=float)
    counts, edges = np.histogram(values, bins=BINS) if len(values) else (np.zeros(0, int), np.zeros(1))
    bars = pd.DataFrame({"from": edges[:-1], "to": edges[1:], "suspects": counts, "none": 0, "role": "suspect"})
    bars = bars[bars["suspects"] > 0]
    there = ["suspect"] * bool(len(bars)) + ["control"] * bool(len(controls))
    colour = alt.Color("role:N", scale=ROLES, legend=key_of(there, ROLES))
    histogram = (
        alt.Chart(bars)
        .mark_bar(stroke=palette.SUSPECT, strokeWidth=0.5)
        .encode(
            x=alt.X("from:Q", title=axis, scale=alt.Scale(zero=False)),
            x2="to:Q",
            y=alt.Y("suspects:Q", title="suspects", axis=alt.Axis(tickMinStep=1, format="d")),
            y2="none:Q",
            color=colour,
            tooltip=[alt.Tooltip(name, format=".4~g") for name in ("from:Q", "to:Q", "suspects:Q")],
        )
    )
    marks = alt.Chart(pd.DataFrame({"value": list(controls), "role": "control"}, columns=["value", "role"]))
    ticks = marks.mark_rule(strokeWidth=2).encode(
        x="value:Q", color=colour, tooltip=[alt.Tooltip("value:Q", title="control", format=".4~g")]
    )
    ends = pd.DataFrame(
        [{"low": min(controls), "high": max(controls)}] if len(controls) else [], columns=["low", "high"]
    )
    band = alt.Chart(ends).mark_rect(color=palette.NULL, opacity=0.2).encode(x="low:Q", x2="high:Q")
    return finished(band + histogram + ticks, title, HEIGHT)
