"""The embedding map of one projector: a dot per image or patch, a line from the clean one to the triggered."""

from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from projlens_core.charts import palette
from projlens_core.charts.style import CONDITIONS, finished, key_of, layered

HEIGHT = 300  # px, title and axis included


def embedded(
    title: str,
    points: Mapping[str, np.ndarray],
    ends: tuple[tuple[float, float], tuple[float, float]],
    explained: tuple[float, float],
    what: str,
) -> alt.LayerChart:
    """points: {condition: (n, 2)}; ends: of both axes, the same for all projectors; what: one point is, in a word."""
    frames = [
        pd.DataFrame({"condition": condition, "number": np.arange(1, len(each) + 1), "x": each[:, 0], "y": each[:, 1]})
        for condition, each in points.items()
    ]
    axes: list[dict[str, Any]] = [
        {"title": f"axis {i + 1} ({share:.0%} of the variance)", "scale": alt.Scale(domain=list(end), nice=False)}
        for i, (share, end) in enumerate(zip(explained, ends, strict=True))
    ]
    x, y = axes
    layers = []
    if len(frames) == 2:
        pairs = frames[0].assign(to_x=frames[1].x, to_y=frames[1].y)
        layers.append(
            alt.Chart(pairs)
            .mark_rule(strokeWidth=1, opacity=1, color=palette.NULL)
            .encode(x=alt.X("x:Q", **x), y=alt.Y("y:Q", **y), x2="to_x:Q", y2="to_y:Q")
        )
    dots = (
        alt.Chart(pd.concat(frames))
        .mark_circle(size=28, opacity=0.9)
        .encode(
            x=alt.X("x:Q", axis=alt.Axis(tickCount=4), **x),
            y=alt.Y("y:Q", axis=alt.Axis(tickCount=4), **y),
            color=alt.Color("condition:N", scale=CONDITIONS, legend=key_of(points, CONDITIONS)),
            tooltip=[alt.Tooltip("number:Q", title=f"{what} number"), alt.Tooltip("condition:N")],
        )
    )
    return finished(layered(*layers, dots), title, HEIGHT)
