"""How far patches are pushed: the distribution of shifts, and shift against norm."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from projlens_core.charts import palette
from projlens_core.charts.form import Filled, form, hole, named
from projlens_core.charts.style import CONDITIONS, KEY, drawn_of, finished, key_of, layered
from projlens_core.stats.lines import NormAxis, NormShift

MAX_POINTS = 2000  # a condition; more points hide each other and slow the browser, and the fit uses all tokens anyway
BINS = 60
TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 40, 60, 80, 100)  # % of all patches, where high enough
NORMS: dict[NormAxis, str] = {"input": "norm of the projector's input ‖h‖", "output": "norm of base's output ‖E_b‖"}
_NAMES = alt.Scale(domain=["Suspect", "Control"], range=[palette.SUSPECT, palette.CONTROL])
_LINES = alt.Legend(title=None, orient="bottom-right", offset=0, symbolType="stroke", symbolSize=300)


def distribution(
    title: str,
    shifts: Mapping[str, Mapping[str, np.ndarray]],
    means: Mapping[str, Mapping[str, float]],
    axis: str,
) -> Filled:
    """How far all patches are pushed, clean and triggered over each other: up under one projector, down under another.

    shifts: {role: {condition: values}}; means: {role: {condition: mean shift of the image on screen}}; axis: what the
    shift is and its unit.
    """
    everything = np.concatenate([values for by_condition in shifts.values() for values in by_condition.values()])
    low, high = float(everything.min()), float(everything.max())
    domain = [low, high] if low < high else [low - 1, high + 1]
    edges = np.linspace(domain[0], domain[1], BINS + 1)
    sides = dict(zip(shifts, (1, -1), strict=False))
    bars = pa.concat_tables(
        pa.table(
            {
                "projector": [role] * BINS,
                "condition": [condition] * BINS,
                "from": edges[:-1],
                "to": edges[1:],
                "share": share,
                "height": sides[role] * 100 * share,
            }
        )
        for role, by_condition in shifts.items()
        for condition, values in by_condition.items()
        for share in [np.histogram(values, edges)[0] / len(values)]
    )
    tallest = 100 * pc.max(bars["share"]).as_py()
    here = pa.Table.from_pylist(
        [
            {"projector": role, "condition": condition, "mean": mean, "end": sides[role] * tallest}
            for role, by_condition in means.items()
            for condition, mean in by_condition.items()
        ],
        pa.schema({"projector": pa.string(), "condition": pa.string(), "mean": pa.float64(), "end": pa.float64()}),
    )
    names = pa.table(
        {
            "name": [role.capitalize() for role in sides],
            "height": [side * tallest / 8 for side in sides.values()],
        }
    )
    reach = [-tallest if len(sides) > 1 else 0, tallest]
    ticks = [tick for tick in TICKS if tallest / 40 <= tick <= tallest]
    return Filled(
        _distribution_form(),
        {"bars": bars, "here": here, "names": names},
        {
            "title": title,
            "domain": domain,
            "reach": reach,
            "axis": axis,
            "ticks": [*(-t for t in ticks), 0, *ticks],
            "key": drawn_of({condition for by_condition in shifts.values() for condition in by_condition}, CONDITIONS),
        },
    )


@cache
def _distribution_form() -> dict:
    x: dict[str, Any] = {"scale": alt.Scale(domain=hole("domain"), nice=False), "title": hole("axis")}
    height: dict[str, Any] = {
        "title": "share of patches (√ scale)",  # or the few that the trigger touches would not be seen
        "scale": alt.Scale(type="sqrt", domain=hole("reach"), nice=False),
        "axis": alt.Axis(labelExpr="max(datum.value, -datum.value) + '%'", values=hole("ticks")),
    }
    key = alt.Legend(**KEY, symbolType="square", values=hole("key"))
    colour = alt.Color("condition:N", scale=CONDITIONS, legend=key)
    bars = (
        named("bars")
        .mark_bar(fillOpacity=0.55, strokeWidth=0.8, binSpacing=0, aria=False)
        .encode(
            x=alt.X("from:Q", bin="binned", axis=alt.Axis(tickCount=6, grid=False), **x),
            x2="to:Q",
            y=alt.Y("height:Q", stack=None, **height),
            color=colour,
            stroke=alt.Stroke("condition:N", scale=CONDITIONS, legend=None),
            tooltip=[
                alt.Tooltip("projector:N"),
                alt.Tooltip("condition:N"),
                alt.Tooltip("from:Q", format=".3g"),
                alt.Tooltip("to:Q", format=".3g"),
                alt.Tooltip("share:Q", title="share of patches", format=".1%"),
            ],
        )
    )
    means = (
        named("here")
        .mark_rule(strokeWidth=2)
        .encode(
            x=alt.X("mean:Q", **x),
            y=alt.Y("end:Q", **height),
            y2=alt.datum(0),
            color=colour,
            tooltip=[
                alt.Tooltip("projector:N"),
                alt.Tooltip("condition:N"),
                alt.Tooltip("mean:Q", title="this image's mean", format=".4g"),
            ],
        )
    )
    names = (
        named("names")
        .mark_text(x={"expr": "width - 6"}, align="right", fontSize=13, fontWeight=600, aria=False)
        .encode(y=alt.Y("height:Q", **height), text="name:N", fill=alt.Fill("name:N", scale=_NAMES, legend=None))
    )
    return form(finished(layered(bars, means, names), hole("title"), 300))


def norm_shift(
    title: str,
    relations: Mapping[str, NormShift],
    axis: NormAxis,
    here: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
    chosen: int | None = None,
) -> alt.LayerChart:
    """Each token's shift against its norm, by condition, with the least-squares line and, dashed, the robust one.

    Beyond MAX_POINTS a condition only a seeded sample of the tokens is drawn, and all outliers, as rings; the lines
    are fitted to all. here: {condition: (norms, shifts)} of the image on screen, (T,) each, as larger dots; the
    selection "dot" holds the token of the one clicked, and the token `chosen` stands out.
    """
    rng = np.random.default_rng(0)
    axes: dict[str, Any] = {
        "x": alt.X("norm:Q", title=NORMS[axis], scale=alt.Scale(zero=False)),
        "y": alt.Y("shift:Q", title="shift ΔE·v₀"),
        "color": alt.Color("condition:N", scale=CONDITIONS, legend=key_of(relations, CONDITIONS)),
    }
    tooltips = [
        alt.Tooltip("condition:N"),
        alt.Tooltip("norm:Q", title=NORMS[axis], format=".4g"),
        alt.Tooltip("shift:Q", title="ΔE·v₀", format=".4g"),
    ]
    points, rings, lines = [], [], []
    for condition, relation in relations.items():
        frame = pd.DataFrame(
            {"condition": condition, "norm": relation.norms.numpy().ravel(), "shift": relation.shift.numpy().ravel()}
        )
        points.append(frame.iloc[rng.choice(len(frame), min(len(frame), MAX_POINTS), replace=False)])
        rings.append(frame.iloc[relation.outliers.image * relation.norms.shape[1] + relation.outliers.token])
        ends = np.array([frame.norm.min(), frame.norm.max()])
        lines += [
            pd.DataFrame(
                {"condition": condition, "norm": ends, "shift": fit.intercept + fit.slope * ends, "fitted": name}
            )
            for name, fit in (("least squares", relation.fit), ("robust", relation.robust))
            if fit.note is None
        ]
    layers = [alt.Chart(pd.concat(points)).mark_circle(size=10, opacity=0.25).encode(**axes, tooltip=tooltips)]
    if any(map(len, rings)):
        layers.append(
            alt.Chart(pd.concat(rings))
            .mark_point(size=22, strokeWidth=0.8, opacity=0.6)
            .encode(**axes, tooltip=tooltips)
        )
    if lines:
        dashes = alt.StrokeDash(
            "fitted:N", scale=alt.Scale(domain=["least squares", "robust"], range=[[1, 0], [6, 4]]), legend=_LINES
        )
        layers.append(alt.Chart(pd.concat(lines)).mark_line(strokeWidth=2.5).encode(**axes, strokeDash=dashes))
    if here:
        layers += _image(here, axes, tooltips, chosen)
    return finished(layered(*layers), title, 340)


def _image(
    here: Mapping[str, tuple[np.ndarray, np.ndarray]], axes: dict, tooltips: list[alt.Tooltip], chosen: int | None
) -> list[alt.Chart]:
    """The image's own tokens, to be clicked, and the chosen one in a ring."""
    frame = pd.concat(
        pd.DataFrame({"condition": condition, "norm": norms, "shift": shifts, "token": np.arange(len(norms))})
        for condition, (norms, shifts) in here.items()
    )
    dot = alt.selection_point(name="dot", fields=["token"], on="click", toggle=False, clear=False)
    own = (
        alt.Chart(frame)
        .mark_circle(size=34, opacity=0.9, cursor="pointer")
        .encode(**axes, tooltip=[alt.Tooltip("token:Q", title="this image's patch"), *tooltips])
        .add_params(dot)
    )
    ring = alt.Chart(frame[frame.token == chosen]).mark_point(
        size=190, strokeWidth=3, opacity=1, filled=False, color=palette.CHOSEN
    )
    return [own, ring.encode(x=axes["x"], y=axes["y"])]
