"""Singular spectra: values and cumulative energy by rank, of one or several changes on one axis."""

from collections.abc import Mapping, Sequence
from functools import cache

import altair as alt
import numpy as np
import pyarrow as pa

from projlens_core.charts import palette
from projlens_core.charts.form import Filled, Hole, form, named
from projlens_core.charts.style import KEY, ROLES, finished
from projlens_core.weights.noise import BulkEdge, NoiseEdge
from projlens_core.weights.spectrum import Spectrum

HEIGHT = 262  # px
_LOW = 0.1  # of the axis
_DASHES = ([5, 4], [2, 3])


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
    curves: Mapping[str, Sequence[float]],
    colours: alt.Scale,
    edges: Mapping[str, NoiseEdge | BulkEdge],
    top: int,
) -> Filled:
    """The `top` largest singular values of each curve, by its name on screen, and at most two edges of the suspect."""
    drawn = list(zip(edges.items(), _DASHES, strict=False))
    data = {"curves": _by_rank(curves, top, "value")}
    for number, ((name, edge), _) in enumerate(drawn):
        data[f"edge {number}"] = pa.table({"edge": [edge.edge], "label": [name], "spikes": [edge.spikes]})
    filling = {"title": title, "colours": colours.to_dict(validate=False)}
    highest = max((max(curve[:top], default=0) for curve in curves.values()), default=0)
    for number, ((name, edge), _) in enumerate(drawn):
        low = edge.edge < _LOW * highest  # below such a line its name would lie on the axis's numbers
        filling |= {f"told {number}": f"{name} of the suspect"}
        filling |= {f"baseline {number}": "bottom" if low else "top", f"dy {number}": -4 if low else 4}
    return Filled(_values_form(len(drawn)), data, filling)


@cache
def _values_form(edges: int) -> dict:
    lines = _lines().encode(
        y=alt.Y("value:Q", title="singular value σₖ", axis=alt.Axis(tickCount=4)),
        color=alt.Color("role:N", scale=Hole("colours"), legend=alt.Legend(**KEY)),
        tooltip=[
            alt.Tooltip("role:N", title="projector"),
            alt.Tooltip("rank:Q", title="rank k"),
            alt.Tooltip("value:Q", title="σₖ", format=".4g"),
        ],
    )
    rules, labels = [], []
    for number, dash in enumerate(_DASHES[:edges]):
        null = named(f"edge {number}")
        told = [
            alt.Tooltip("edge:Q", title=Hole(f"told {number}"), format=".4g"),
            alt.Tooltip("spikes:Q", title="spikes"),
        ]
        rule = null.mark_rule(strokeDash=dash, strokeWidth=1.5, color=palette.NULL)
        place = {"baseline": Hole(f"baseline {number}"), "dy": Hole(f"dy {number}")}
        label = null.mark_text(align="left", dx=3, color=palette.NULL, fontSize=11, **place)
        rules.append(rule.encode(y="edge:Q", tooltip=told))
        labels.append(label.encode(x=alt.value(0), y="edge:Q", text="label:N", tooltip=told))
    return form(finished(alt.layer(*rules, lines, *labels), Hole("title"), HEIGHT))


def shares(
    title: str, curves: Mapping[str, Sequence[float]], colours: alt.Scale, top: int, height: int = 232
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
        color=alt.Color("role:N", scale=Hole("colours"), legend=None),
        tooltip=[
            alt.Tooltip("role:N", title="projector"),
            alt.Tooltip("rank:Q", title="largest k values"),
            alt.Tooltip("share:Q", title="share of ‖ΔW‖²", format=".1%"),
        ],
    )
    return form(finished(lines, Hole("title"), HEIGHT)) | {"height": Hole("height")}


def _lines() -> alt.Chart:
    """Lines of the curves over their rank."""
    lines = named("curves").mark_line(point={"size": 26, "filled": True}, strokeWidth=1.8)
    return lines.encode(x=alt.X("rank:Q", title="rank k", axis=alt.Axis(tickMinStep=1, grid=False)))


def _by_rank(curves: Mapping[str, Sequence[float]], top: int, column: str) -> pa.Table:
    """The first `top` values of each curve as rows (role, rank, column)."""
    shown = {role: np.asarray(values[:top]) for role, values in curves.items()}
    return pa.concat_tables(
        pa.table({"role": [role] * len(values), "rank": np.arange(1, len(values) + 1), column: values})
        for role, values in shown.items()
    )
