"""Shift token by token, for models whose image tokens lie on no grid: bars in the place of the heatmaps."""

from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from projlens_core.charts import palette
from projlens_core.charts.overlays import colour_scale
from projlens_core.charts.style import CONDITIONS, finished, key_of, layered

HEIGHT = 240  # px


def by_token(
    title: str, values: Mapping[str, np.ndarray], limit: float, signed: bool, measure: str, chosen: int | None = None
) -> alt.LayerChart:
    """One bar per token and condition; {condition: values (T,)}.

    limit ends the axis, which begins at zero or, signed, at −limit. The selection "patch" holds the token, counted
    from 0, of the bar clicked; `chosen` has a frame around it.
    """
    frame = pd.concat(
        pd.DataFrame({"token": np.arange(len(each)), "condition": condition, "value": each.astype(float)})
        for condition, each in values.items()
    )
    above = key_of(values, CONDITIONS, orient="top", offset=4)  # bars may be high anywhere
    colour = alt.Color("condition:N", scale=CONDITIONS, legend=above)
    return _bars(title, frame, colour, limit, signed, measure, chosen, xOffset=alt.XOffset("condition:N"))


def difference_by_token(
    title: str, values: np.ndarray, limit: float, measure: str, chosen: int | None = None
) -> alt.LayerChart:
    """Triggered minus clean, (T,), one bar per token, from −limit to limit; selection and frame as in `by_token`."""
    frame = pd.DataFrame({"token": np.arange(len(values)), "condition": "difference", "value": values.astype(float)})
    colour = alt.Color("value:Q", scale=colour_scale(limit, signed=True), legend=None)
    return _bars(title, frame, colour, limit, True, measure, chosen)


def _bars(
    title: str,
    frame: pd.DataFrame,
    colour: alt.Color,
    limit: float,
    signed: bool,
    measure: str,
    chosen: int | None,
    **offset: alt.XOffset,
) -> alt.LayerChart:
    frame = frame.assign(number=frame.token + 1)
    place: dict[str, Any] = {
        "x": alt.X("number:O", title="image token", axis=alt.Axis(labelAngle=0, labelOverlap=True, ticks=False)),
        "y": alt.Y(
            "value:Q",
            title=f"{measure} (embedding units)",
            scale=alt.Scale(domain=[-limit if signed else 0, limit], nice=False),
            axis=alt.Axis(tickCount=5),
        ),
        **offset,
    }
    patch = alt.selection_point(name="patch", fields=["token"], on="click", toggle=False, clear=False)
    bars = (
        alt.Chart(frame)
        .mark_bar(cursor="pointer")
        .encode(
            **place,
            color=colour,
            tooltip=[
                alt.Tooltip("number:O", title="image token"),
                alt.Tooltip("condition:N"),
                alt.Tooltip("value:Q", title=measure, format=".4g"),
            ],
        )
        .add_params(patch)
    )
    framed = alt.Chart(frame[frame.token == chosen]).mark_bar(
        filled=False, stroke=palette.CHOSEN, strokeWidth=2.5, opacity=1
    )
    return finished(layered(bars, framed.encode(**place)), title, HEIGHT)
