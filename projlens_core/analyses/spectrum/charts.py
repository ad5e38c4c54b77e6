"""How a change is built: singular values and energy by rank, ΔW itself, and the angles between changes' subspaces."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import pyarrow as pa

from projlens_core.analyses.spectrum.name_places import NamePlace, free_place
from projlens_core.charts import palette
from projlens_core.charts.form import Filled, form, hole, named
from projlens_core.charts.overlays import colour_scale
from projlens_core.charts.style import KEY, ROLES, finished, layered
from projlens_core.weights.blocks import Blocks
from projlens_core.weights.noise import BulkEdge, NoiseEdge
from projlens_core.weights.overlap import Overlap
from projlens_core.weights.spectrum import Spectrum

HEIGHT = 262  # px
_DASHES = ([5, 4], [2, 3])
_OWN = {"suspect": palette.SUSPECT, "control": palette.CONTROL}


def spectrum(title: str, suspect: Spectrum, control: Spectrum | None, edge: NoiseEdge, top: int) -> Filled:
    """The `top` largest singular values of one matrix of ΔW, suspect over control, with the suspect's noise edge."""
    curves = {"suspect": suspect.values} | ({"control": control.values} if control else {})
    return values(title, curves, ROLES, {"noise edge": edge}, top)


def energy(title: str, suspect: Spectrum, control: Spectrum | None, top: int) -> Filled:
    """How much of ‖ΔW‖² the k largest singular values hold together, suspect over control."""
    curves = {"suspect": suspect.energy} | ({"control": control.energy} if control else {})
    return shares(title, curves, ROLES, top)


def values(
    title: str,
    curves: Mapping[str, Sequence[float] | np.ndarray],
    colours: alt.Scale,
    edges: Mapping[str, NoiseEdge | BulkEdge],
    top: int,
) -> Filled:
    """The `top` largest singular values of each curve, by its name on screen, and at most two edges of the suspect."""
    drawn = list(zip(edges.items(), _DASHES, strict=False))
    data = {"curves": _by_rank(curves, top, "value")}
    for number, ((name, edge), _) in enumerate(drawn):
        data[f"edge {number}"] = pa.table({"edge": [edge.edge], "label": [name], "spikes": [edge.spikes]})
    filling: dict[str, Any] = {"title": title, "colours": colours.to_dict(validate=False)}
    reached = [max(curve[:top], default=0) for curve in curves.values()]
    highest = float(max((*reached, *(edge.edge for edge in edges.values())), default=0))
    taken: list[NamePlace] = []
    for number, ((name, edge), _) in enumerate(drawn):
        place = free_place(name, float(edge.edge), [np.asarray(c[:top]) for c in curves.values()], highest, taken)
        taken.append(place)
        filling |= {f"told {number}": f"{name} of the suspect"}
        filling |= {f"baseline {number}": "bottom" if place.above else "top", f"dy {number}": -4 if place.above else 4}
        filling |= {f"align {number}": place.side, f"dx {number}": 3 if place.side == "left" else -3}
        filling |= {f"x {number}": 0 if place.side == "left" else "width"}
    return Filled(_values_form(len(drawn)), data, filling)


@cache
def _values_form(edges: int) -> dict:
    lines = _lines().encode(
        y=alt.Y("value:Q", title="singular value σₖ", axis=alt.Axis(tickCount=4)),
        color=alt.Color("role:N", scale=hole("colours"), legend=alt.Legend(**KEY)),
        tooltip=[
            alt.Tooltip("role:N", title="projector"),
            alt.Tooltip("rank:Q", title="rank k"),
            alt.Tooltip("value:Q", title="σₖ", format=".4g"),
        ],
    )
    rules, labels = [], []
    for number, dash in enumerate(_DASHES[:edges]):
        null = named(f"edge {number}")
        tooltips = [
            alt.Tooltip("edge:Q", title=hole(f"told {number}"), format=".4g"),
            alt.Tooltip("spikes:Q", title="spikes"),
        ]
        rule = null.mark_rule(strokeDash=dash, strokeWidth=1.5, color=palette.NULL)
        place = {name: hole(f"{name} {number}") for name in ("align", "dx", "baseline", "dy")}
        label = null.mark_text(color=palette.NULL, fontSize=11, **place)
        rules.append(rule.encode(y="edge:Q", tooltip=tooltips))
        labels.append(label.encode(x=alt.value(hole(f"x {number}")), y="edge:Q", text="label:N", tooltip=tooltips))
    return form(finished(layered(*rules, lines, *labels), hole("title"), HEIGHT))


def shares(
    title: str, curves: Mapping[str, Sequence[float] | np.ndarray], colours: alt.Scale, top: int, height: int = 232
) -> Filled:
    """The cumulative energy of each curve, by its name on screen; `height` in px, everything included."""
    filling = {"title": title, "colours": colours.to_dict(validate=False), "height": height}
    return Filled(_shares_form(), {"curves": _by_rank(curves, top, "share")}, filling)


@cache
def _shares_form() -> dict:
    lines = _lines().encode(
        y=alt.Y(
            "share:Q",
            title="cumulative energy",
            scale=alt.Scale(domain=[0, 1]),
            axis=alt.Axis(format="%", tickCount=4),
        ),
        color=alt.Color("role:N", scale=hole("colours"), legend=None),
        tooltip=[
            alt.Tooltip("role:N", title="projector"),
            alt.Tooltip("rank:Q", title="largest k values"),
            alt.Tooltip("share:Q", title="share of ‖ΔW‖²", format=".1%"),
        ],
    )
    return form(finished(lines, hole("title"), HEIGHT)) | {"height": hole("height")}


def _lines() -> alt.Chart:
    """Lines of the curves over their rank."""
    lines = named("curves").mark_line(point={"size": 26, "filled": True}, strokeWidth=1.8)
    return lines.encode(x=alt.X("rank:Q", title="rank k", axis=alt.Axis(tickMinStep=1, grid=False)))


def _by_rank(curves: Mapping[str, Sequence[float] | np.ndarray], top: int, column: str) -> pa.Table:
    """The first `top` values of each curve as rows (role, rank, column)."""
    shown = {role: np.asarray(values[:top]) for role, values in curves.items()}
    return pa.concat_tables(
        pa.table({"role": [role] * len(values), "rank": np.arange(1, len(values) + 1), column: values})
        for role, values in shown.items()
    )


def colours(names: Sequence[str]) -> alt.Scale:
    """Suspect and control as everywhere, further projectors in the order they were added."""
    further = iter(palette.FURTHER * len(names))
    return alt.Scale(domain=list(names), range=[_OWN.get(name) or next(further) for name in names])


def heatmap(title: str, matrix: Blocks, values: np.ndarray, limit: float, measure: str) -> alt.Chart:
    """`values`, `largest` or `rms` of the blocks, where they lie in the matrix; 0 … limit on the sequential scale."""
    row, column = np.indices(values.shape)
    frame = pd.DataFrame(
        {
            "top": matrix.rows[row.ravel()],
            "bottom": matrix.rows[row.ravel() + 1],
            "left": matrix.columns[column.ravel()],
            "right": matrix.columns[column.ravel() + 1],
            "value": np.array([float(f"{value:.4g}") for value in values.ravel()]),  # a third of the bytes to send
        }
    )
    ends = {
        "x": [int(matrix.columns[0]), int(matrix.columns[-1])],
        "y": [int(matrix.rows[-1]), int(matrix.rows[0])],  # row 0 on top, as a matrix is written
    }
    place: dict[str, dict[str, Any]] = {
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


def angles(title: str, overlaps: Mapping[str, Overlap], scale: alt.Scale) -> alt.LayerChart:
    """Principal angles of the suspect's subspace with each other projector's, over those of random subspaces.

    All of them have as many dimensions; scale is `colours` of all projectors on the page.
    """
    one = next(iter(overlaps.values()))
    numbers = np.arange(1, len(one.angles) + 1)
    x = alt.X("number:Q", title="principal angle, smallest first", axis=alt.Axis(tickMinStep=1, grid=False))
    y: dict[str, Any] = {"scale": alt.Scale(domain=[0, 90]), "axis": alt.Axis(values=[0, 30, 60, 90])}
    chance = pd.DataFrame({"number": numbers, "median": one.chance_median, "low": one.chance_low, "high": 90.0})
    tooltips = [
        alt.Tooltip("number:Q", title="angle"),
        alt.Tooltip("median:Q", title="random subspaces, median °", format=".1f"),
        alt.Tooltip("low:Q", title="97.5 % of them above °", format=".1f"),
    ]
    band = (
        alt.Chart(chance)
        .mark_area(color=palette.NULL, opacity=0.18)
        .encode(x=x, y=alt.Y("low:Q", title="degrees", **y), y2="high:Q", tooltip=tooltips)
    )
    median = (
        alt.Chart(chance)
        .mark_line(color=palette.NULL, strokeDash=[5, 4], strokeWidth=1.5)
        .encode(x=x, y=alt.Y("median:Q", **y), tooltip=tooltips)
    )
    label = (
        alt.Chart(chance.head(1).assign(label="random subspaces"))
        .mark_text(align="left", baseline="top", dx=4, dy=2, color=palette.NULL, fontSize=11)
        .encode(x=x, y=alt.Y("low:Q", **y), text="label:N")
    )
    rows = pd.concat(
        pd.DataFrame({"projector": name, "number": numbers, "angle": overlap.angles})
        for name, overlap in overlaps.items()
    )
    key = alt.Legend(**KEY | {"orient": "bottom-right", "values": list(overlaps)})  # where angles are not, as a rule
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
    return finished(layered(band, median, lines, label), title, 300)


def _span(begin: str, end: str) -> str:
    """The entries of a block as Vega writes them: 4, or 4 to 7."""
    return f"datum.{begin} + (datum.{end} - datum.{begin} > 1 ? ' to ' + (datum.{end} - 1) : '')"
