"""How well clean and triggered images are separated: AUROC by projector, and the decision values behind it."""

from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from projlens_core.activations.separability import Separability
from projlens_core.charts import palette
from projlens_core.charts.style import CONDITIONS, KEY, PROJECTORS, finished, layered

DECISION = "decision value (above 0: taken for triggered)"
EMBEDDINGS, NORMS = "embeddings", "norms alone"


def aurocs(title: str, by_role: Mapping[str, Separability]) -> alt.LayerChart:
    """AUROC of each projector with its 95 % interval, from embeddings and from norms alone, on the range of chance."""
    rows: list[dict[str, Any]] = []
    chance: list[dict[str, Any]] = []
    for role, one in by_role.items():
        for features, apart in ((EMBEDDINGS, one.auroc), (NORMS, one.norms)):
            interval = {"low": apart.low, "high": apart.high, "images": apart.clean + apart.triggered}
            rows.append(
                {"row": f"{role}, {features}", "projector": role, "features": features, "auroc": apart.auroc} | interval
            )
        low, high = one.chance.low, one.chance.high
        chance.append({"row": f"{role}, {EMBEDDINGS}", "low": low, "high": high, "mean": one.chance.mean})
    frame = pd.DataFrame(rows)
    x: dict[str, Any] = {
        "scale": alt.Scale(domain=[min(0.4, float(frame.low.min()), *(c["low"] for c in chance)), 1], nice=False),
        "axis": alt.Axis(tickCount=6),
        "title": "AUROC: 0.5 is chance, 1 separates all",
    }
    y = alt.Y("row:N", title=None, sort=list(frame.row), axis=alt.Axis(labelLimit=200, ticks=False, labelPadding=10))
    colour = alt.Color("projector:N", scale=PROJECTORS, legend=None)
    tooltip = [
        alt.Tooltip("projector:N"),
        alt.Tooltip("features:N"),
        alt.Tooltip("auroc:Q", title="AUROC", format=".3f"),
        alt.Tooltip("low:Q", title="95 % interval from", format=".3f"),
        alt.Tooltip("high:Q", title="to", format=".3f"),
        alt.Tooltip("images:Q"),
    ]
    null = [
        alt.Tooltip("low:Q", title="95 % of shuffled labels from", format=".3f"),
        alt.Tooltip("mean:Q", title="mean", format=".3f"),
        alt.Tooltip("high:Q", title="to", format=".3f"),
    ]
    band = alt.Chart(pd.DataFrame(chance)).mark_bar(
        height=14, color=palette.NULL, fillOpacity=0.22, stroke=palette.NULL, strokeWidth=1, strokeDash=[4, 3]
    )
    bounds = alt.Chart(frame).mark_rule(strokeWidth=3).encode(x=alt.X("low:Q", **x), x2="high:Q", y=y, color=colour)
    dots = (
        alt.Chart(frame)
        .mark_point(size=90, opacity=1, strokeWidth=2)
        .encode(
            x=alt.X("auroc:Q", **x),
            y=y,
            color=colour,
            fill=alt.condition(alt.datum.features == EMBEDDINGS, colour, alt.value("transparent")),
            tooltip=tooltip,
        )
    )
    layers = (band.encode(x=alt.X("low:Q", **x), x2="high:Q", y=y, tooltip=null), bounds, dots)
    return finished(layered(*layers), title, 30 * len(frame) + 80)


def scores(title: str, by_role: Mapping[str, Separability], names: tuple[str, ...]) -> alt.LayerChart:
    """Each image's out-of-fold decision value by projector, clean over triggered; 0 is where the classifier divides."""
    frames = []
    for role, one in by_role.items():
        for condition, values in (("clean", one.clean), ("triggered", one.triggered)):
            frames.append(
                pd.DataFrame(
                    {
                        "picture": names,
                        "row": f"{role}, {condition}",
                        "projector": role,
                        "condition": condition,
                        "value": values.numpy(),
                    }
                )
            )
    frame = pd.concat(frames)
    frame["place"] = np.random.default_rng(0).uniform(-0.3, 0.3, len(frame))  # so that dots do not hide each other
    dots = (
        alt.Chart(frame)
        .mark_circle(size=26, opacity=0.9)
        .encode(
            x=alt.X("value:Q", title=DECISION, axis=alt.Axis(tickCount=8)),
            y=alt.Y(
                "row:N", title=None, sort=list(dict.fromkeys(frame.row)), axis=alt.Axis(ticks=False, labelPadding=10)
            ),
            yOffset=alt.YOffset("place:Q", scale=alt.Scale(domain=[-0.5, 0.5])),
            color=alt.Color("condition:N", scale=CONDITIONS, legend=alt.Legend(**KEY | {"orient": "bottom"})),
            tooltip=[
                alt.Tooltip("picture:N", title="image name"),
                alt.Tooltip("projector:N"),
                alt.Tooltip("condition:N"),
                alt.Tooltip("value:Q", title="decision value", format=".3f"),
            ],
        )
    )
    zero = (
        alt.Chart(pd.DataFrame({"value": [0.0]})).mark_rule(strokeDash=[5, 4], color=palette.NULL).encode(x="value:Q")
    )
    return finished(layered(zero, dots), title, 34 * frame.row.nunique() + 90)
