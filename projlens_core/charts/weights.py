"""How a change is built: ΔW itself at the size of a screen, and the angles between changes' subspaces."""

from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np
import pandas as pd

from projlens_core.charts import palette
from projlens_core.charts.overlays import colour_scale
from projlens_core.charts.style import KEY, finished
from projlens_core.weights.blocks import Blocks
from projlens_core.weights.overlap import Overlap

_OWN = {"suspect": palette.SUSPECT, "control": palette.CONTROL}


def colours(names: Sequence[str]) -> alt.Scale:
    """Suspect and control as everywhere, further projectors in the order they were added."""
    further = iter(palette.FURTHER * len(names))
    return alt.Scale(domain=list(names), range=[_OWN.get(name) or next(further) for name in names])


def heatmap(title: str, found: Blocks, values: np.ndarray, limit: float, measure: str) -> alt.Chart:
    """`values`, `largest` or `rms` of the blocks, where they lie in the matrix; 0 … limit on the sequential scale."""
    row, column = np.indices(values.shape)
    frame = pd.DataFrame(
        {
            "top": found.rows[row.ravel()],
            "bottom": found.rows[row.ravel() + 1],
            "left": found.columns[column.ravel()],
            "right": found.columns[column.ravel() + 1],
            "value": np.array([float(f"{value:.4g}") for value in values.ravel()]),  # a third of the bytes to send
        }
    )
    ends = {
        "x": [int(found.columns[0]), int(found.columns[-1])],
        "y": [int(found.rows[-1]), int(found.rows[0])],  # row 0 on top, as a matrix is written
    }
    place = {
        axis: {"scale": alt.Scale(domain=domain, nice=False), "axis": alt.Axis(tickCount=5, grid=False)}
        for axis, domain in ends.items()
    }
    chart = (
        alt.Chart(frame)
        .transform_calculate(rows=_span("top", "bottom"), columns=_span("left", "right"))
        .mark_rect(opacity=1, strokeWidth=1)
        .encode(
            x=alt.X("left:Q", title="column (input)", **place["x"]),
            x2="right:Q",
            y=alt.Y("top:Q", title="row (output)", **place["y"]),
            y2="bottom:Q",
            color=alt.Color("value:Q", scale=colour_scale(limit, signed=False), legend=None),
            stroke=alt.Stroke("value:Q", scale=colour_scale(limit, signed=False), legend=None),  # or seams show
            tooltip=[
                alt.Tooltip("rows:N"),
                alt.Tooltip("columns:N"),
                alt.Tooltip("value:Q", title=measure, format=".4g"),
            ],
        )
    )
    return finished(chart, title, 330)


def angles(title: str, found: Mapping[str, Overlap], scale: alt.Scale) -> alt.LayerChart:
    """Principal angles of the suspect's subspace with each other projector's, over those of random subspaces.

    All of them have as many dimensions; scale is `colours` of all projectors on the page.
    """
    one = next(iter(found.values()))
    numbers = np.arange(1, len(one.angles) + 1)
    x = alt.X("number:Q", title="principal angle, smallest first", axis=alt.Axis(tickMinStep=1, grid=False))
    y = {"scale": alt.Scale(domain=[0, 90]), "axis": alt.Axis(values=[0, 30, 60, 90])}
    chance = pd.DataFrame({"number": numbers, "median": one.chance_median, "low": one.chance_low, "high": 90.0})
    told = [
        alt.Tooltip("number:Q", title="angle"),
        alt.Tooltip("median:Q", title="random subspaces, median °", format=".1f"),
        alt.Tooltip("low:Q", title="97.5 % of them above °", format=".1f"),
    ]
    band = (
        alt.Chart(chance)
        .mark_area(color=palette.NULL, opacity=0.18)
        .encode(x=x, y=alt.Y("low:Q", title="degrees", **y), y2="high:Q", tooltip=told)
    )
    median = (
        alt.Chart(chance)
        .mark_line(color=palette.NULL, strokeDash=[5, 4], strokeWidth=1.5)
        .encode(x=x, y=alt.Y("median:Q", **y), tooltip=told)
    )
    label = (
        alt.Chart(chance.head(1).assign(label="random subspaces"))
        .mark_text(align="left", baseline="top", dx=4, dy=2, color=palette.NULL, fontSize=11)
        .encode(x=x, y=alt.Y("low:Q", **y), text="label:N")
    )
    rows = pd.concat(
        pd.DataFrame({"projector": name, "number": numbers, "angle": overlap.angles}) for name, overlap in found.items()
    )
    key = alt.Legend(**KEY | {"orient": "bottom-right", "values": list(found)})  # where angles are not, as a rule
    lines = (
        alt.Chart(rows)
        .mark_line(point={"size": 30, "filled": True}, strokeWidth=1.8)
        .encode(
            x=x,
            y=alt.Y("angle:Q", **y),
            color=alt.Color("projector:N", scale=scale, legend=key),
            tooltip=[
                alt.Tooltip("projector:N", title="suspect with"),
                alt.Tooltip("number:Q", title="angle"),
                alt.Tooltip("angle:Q", title="degrees", format=".1f"),
            ],
        )
    )
    return finished(alt.layer(band, median, lines, label), title, 300)


def _span(begin: str, end: str) -> str:
    """The entries of a block as Vega writes them: 4, or 4 to 7."""
    return f"datum.{begin} + (datum.{end} - datum.{begin} > 1 ? ' to ' + (datum.{end} - 1) : '')"
