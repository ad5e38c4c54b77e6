"""Changes of a trigger: how much of the push is left, and how well each still separates from clean."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from projlens_core.charts import palette
from projlens_core.charts.style import ROLES, finished, key_of, layered

ROW = 22  # px a change
CELL = 44  # px a row of the crossed grid
CHANCE = 0.5


def _tooltip(measure: str, form: str) -> list[alt.Tooltip]:
    return [
        alt.Tooltip("change:N"),
        alt.Tooltip("role:N", title="projector"),
        alt.Tooltip("value:Q", title=measure, format=form),
        alt.Tooltip("low:Q", title="95 % interval from", format=form),
        alt.Tooltip("high:Q", title="to", format=form),
        alt.Tooltip("n:Q", title="images"),
    ]


def by_change(
    title: str, rows: Sequence[Mapping], measure: str, null: float, domain: tuple[float, float] | None, form: str
) -> alt.LayerChart:
    """One dot with its 95 % interval a change and projector, changes down in the given order.

    rows: change, role, value, low, high, n; null: what chance, or no push at all, would give, as a dashed line.
    """
    frame = pd.DataFrame(rows)
    order = list(dict.fromkeys(frame["change"])) if len(frame) else []
    scale = alt.Scale(domain=list(domain), nice=False) if domain else alt.Scale(zero=True)
    x: dict[str, Any] = {"title": measure, "scale": scale, "axis": alt.Axis(tickCount=5)}
    y = alt.Y("change:N", title=None, sort=order, axis=alt.Axis(labelLimit=220, ticks=False, labelPadding=8))
    offset = alt.YOffset("role:N", scale=alt.Scale(domain=["suspect", "control"]))
    roles = frame["role"] if len(frame) else ()
    colour = alt.Color("role:N", scale=ROLES, legend=key_of(roles, ROLES, orient="top", offset=4))
    chart = alt.Chart(frame)
    line = (
        alt.Chart(pd.DataFrame([{"null": null}]))
        .mark_rule(strokeDash=[5, 4], strokeWidth=1.5, color=palette.NULL)
        .encode(x=alt.X("null:Q", **x))
    )
    bounds = chart.mark_rule(strokeWidth=2).encode(
        x=alt.X("low:Q", **x), x2="high:Q", y=y, yOffset=offset, color=colour
    )
    dots = chart.mark_circle(size=55, opacity=1).encode(
        x=alt.X("value:Q", **x), y=y, yOffset=offset, color=colour, tooltip=_tooltip(measure, form)
    )
    return finished(layered(line, bounds, dots), title, ROW * len(order) + 100)


def crossed(title: str, rows: Sequence[Mapping], down: str, across: str) -> alt.LayerChart:
    """The share of the push that every combination of two axes keeps, as a heatmap; 0 is the middle of the scale.

    rows: down and across (the levels as text), value, the gain with low and high, and reason where there is none.
    """
    frame = pd.DataFrame(rows)
    x = alt.X(
        "across:N", title=across, sort=list(dict.fromkeys(frame["across"])), axis=alt.Axis(labelAngle=0, ticks=False)
    )
    y = alt.Y("down:N", title=down, sort=list(dict.fromkeys(frame["down"])), axis=alt.Axis(ticks=False))
    place = [alt.Tooltip("down:N", title=down), alt.Tooltip("across:N", title=across)]
    layers = []
    scored, without = frame[frame["value"].notna()], frame[frame["value"].isna()]
    if len(scored):
        cells = alt.Chart(scored).encode(
            x=x,
            y=y,
            tooltip=[
                *place,
                alt.Tooltip("value:Q", title="push kept", format=".1%"),
                alt.Tooltip("gain:Q", title="gain (embedding units)", format=".4g"),
                alt.Tooltip("low:Q", title="95 % interval from", format=".4g"),
                alt.Tooltip("high:Q", title="to", format=".4g"),
            ],
        )
        scale = alt.Scale(domain=[-1, 1], range=list(palette.DIVERGING), clamp=True)
        key = alt.Legend(
            title="push kept",
            format="%",
            titleFontWeight="normal",
            orient="bottom",
            gradientLength=160,
            gradientThickness=8,
            offset=4,
        )
        dark = (alt.datum.value > 0.7) | (alt.datum.value < -0.7)
        layers += [
            cells.mark_rect(stroke=palette.NULL, strokeWidth=0.5).encode(
                color=alt.Color("value:Q", scale=scale, legend=key)
            ),
            cells.mark_text(fontSize=12).encode(
                text=alt.Text("value:Q", format=".0%"),
                color=alt.condition(dark, alt.value("#ffffff"), alt.value("#14101f")),  # on the cell, not on the page
            ),
        ]
    if len(without):
        empty = alt.Chart(without).encode(x=x, y=y, tooltip=[*place, alt.Tooltip("reason:N")])
        layers += [
            empty.mark_rect(fillOpacity=0.06, fill=palette.NULL, stroke=palette.NULL, strokeDash=[4, 3]),
            empty.mark_text(fontSize=11, color=palette.NULL, text="n/a"),
        ]
    return finished(layered(*layers), title, CELL * frame["down"].nunique() + 120).configure_view(strokeWidth=0)
