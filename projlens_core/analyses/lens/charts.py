"""The logit lens: which token stands at which rank how often, and where the target's words stand against chance."""

from typing import Any

import altair as alt
import pandas as pd

from projlens_core.charts import palette
from projlens_core.charts.style import ROLES, finished, key_of, layered

ROW = 21  # px of one token
_DARK, _LIGHT = "#FFFFFF", "#1A1A1A"  # of a cell's figure, by what lies under it: the cell, not the page
_WORDS = alt.Axis(labelLimit=170, labelOverlap=False, ticks=False, domain=False)
_BRIGHT = 0.6  # share from which the cell is bright


def rank_frequency(title: str, frame: pd.DataFrame) -> alt.LayerChart:
    """How often each token stands at each rank, a row per token in the frame's order.

    frame: token (a label, each once), rank from 1, share of images (0 to 1, rows of 0 left out), target (whether the
    token is one of the target's).
    """
    tokens = list(dict.fromkeys(frame.token))
    axes: dict[str, Any] = {
        "x": alt.X("rank:O", title="rank (1 is the top)", axis=alt.Axis(labelAngle=0)),
        "y": alt.Y("token:N", title=None, sort=tokens, axis=_WORDS),
    }
    tooltips = [
        alt.Tooltip("token:N"),
        alt.Tooltip("rank:O"),
        alt.Tooltip("share:Q", title="share of images", format=".1%"),
        alt.Tooltip("target:N", title="a word of the target"),
    ]
    # no legend: each cell says its share
    colour = alt.Color("share:Q", scale=alt.Scale(domain=[0, 1], range=list(palette.SEQUENTIAL)), legend=None)
    cells = alt.Chart(frame).mark_rect(cornerRadius=2).encode(**axes, color=colour, tooltip=tooltips)
    figures = (
        alt.Chart(frame)
        .mark_text(fontSize=10)
        .encode(
            **axes,
            text=alt.Text("share:Q", format=".0%"),
            color=alt.condition(alt.datum.share > _BRIGHT, alt.value(_LIGHT), alt.value(_DARK)),
            tooltip=tooltips,
        )
    )
    layers = [cells, figures]
    targets = frame[frame.target]
    if len(targets):
        frames = alt.Chart(targets).mark_rect(
            filled=False, stroke=palette.TRIGGERED, strokeWidth=2.5, strokeOpacity=1, cornerRadius=2
        )
        layers.append(frames.encode(**axes, tooltip=tooltips))
    chart = finished(layered(*layers), title, ROW * len(tokens) + 70)
    return chart.configure_view(strokeWidth=0)


def target_ranks(title: str, frame: pd.DataFrame, chance: pd.DataFrame, vocabulary: int) -> alt.LayerChart:
    """Where the target's words stand along the direction, on the range of 95 % of random directions.

    frame: token, projector (suspect or control), rank, told (a sentence part on chance); chance: token, low, median,
    high. Rows stand in the order of `chance`; the axis is logarithmic and ends at the vocabulary's size.
    """
    order = list(chance.token)
    y = alt.Y("token:N", title=None, sort=order, axis=_WORDS)
    x: dict[str, Any] = {
        "title": "rank among all tokens (1 is the top)",
        "scale": alt.Scale(type="log", domain=[1, vocabulary], nice=False),
        "axis": alt.Axis(format=",.0f", values=[v for v in (1, 10, 100, 1_000, 10_000, 100_000) if v <= vocabulary]),
    }
    null = [
        alt.Tooltip("token:N"),
        alt.Tooltip("low:Q", title="95 % of random directions from", format=",.0f"),
        alt.Tooltip("median:Q", title="median", format=",.0f"),
        alt.Tooltip("high:Q", title="to", format=",.0f"),
    ]
    band = alt.Chart(chance).mark_bar(
        height=11, color=palette.NULL, fillOpacity=0.22, stroke=palette.NULL, strokeWidth=1, strokeDash=[4, 3]
    )
    middle = alt.Chart(chance).mark_tick(thickness=1.5, height=11, opacity=1, color=palette.NULL)
    dots = (
        alt.Chart(frame)
        .mark_circle(size=75, opacity=1)
        .encode(
            x=alt.X("rank:Q", **x),
            y=y,
            color=alt.Color("projector:N", scale=ROLES, legend=key_of(frame.projector, ROLES, orient="bottom")),
            tooltip=[
                alt.Tooltip("token:N"),
                alt.Tooltip("projector:N"),
                alt.Tooltip("rank:Q", format=",.0f"),
                alt.Tooltip("told:N", title="random directions"),
            ],
        )
    )
    layers = (
        band.encode(x=alt.X("low:Q", **x), x2="high:Q", y=y, tooltip=null),
        middle.encode(x=alt.X("median:Q", **x), y=y, tooltip=null),
        dots,
    )
    return finished(layered(*layers), title, (ROW + 3) * len(order) + 110)
