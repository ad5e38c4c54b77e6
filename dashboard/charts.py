"""Result → alt.Chart. No streamlit here: a chart can be tested, saved and put into a report as it stands."""

from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np
import pandas as pd

from dashboard import palette
from projlens_core.activations.norm_shift import NormShiftFit
from projlens_core.behaviour.success import Rate
from projlens_core.weights.spectrum import NoiseEdge, Spectrum

MAX_POINTS = 2000  # a condition; more points hide each other and slow the browser, and the fit uses all tokens anyway
BINS = 60
ROLES = alt.Scale(domain=["suspect", "control"], range=[palette.SUSPECT, palette.CONTROL])
CONDITIONS = alt.Scale(domain=["clean", "triggered"], range=[palette.CLEAN, palette.TRIGGERED])
_KEY = {"orient": "top-right", "title": None, "offset": 0, "symbolSize": 60}  # inside the plot, where curves are low


def spectrum(title: str, suspect: Spectrum, control: Spectrum | None, edge: NoiseEdge, top: int) -> alt.LayerChart:
    """The `top` largest singular values of one matrix of ΔW, suspect over control, with the suspect's noise edge."""
    frame = _by_rank({"suspect": suspect.values, "control": control.values if control else None}, top, "value")
    lines = (
        alt.Chart(frame)
        .mark_line(point={"size": 26, "filled": True}, strokeWidth=1.8)
        .encode(
            x=alt.X("rank:Q", title="rank k", axis=alt.Axis(tickMinStep=1, grid=False)),
            y=alt.Y("value:Q", title="singular value σₖ", axis=alt.Axis(tickCount=4)),
            color=alt.Color("role:N", scale=ROLES, legend=alt.Legend(**_KEY)),
            tooltip=[
                alt.Tooltip("role:N", title="projector"),
                alt.Tooltip("rank:Q", title="rank k"),
                alt.Tooltip("value:Q", title="σₖ", format=".4g"),
            ],
        )
    )
    null = pd.DataFrame([{"edge": edge.edge, "label": "noise edge", "spikes": edge.spikes}])
    told = [
        alt.Tooltip("edge:Q", title="noise edge of the suspect", format=".4g"),
        alt.Tooltip("spikes:Q", title="spikes"),
    ]
    rule = (
        alt.Chart(null)
        .mark_rule(strokeDash=[5, 4], strokeWidth=1.5, color=palette.NULL)
        .encode(y="edge:Q", tooltip=told)
    )
    label = (
        alt.Chart(null)
        .mark_text(align="left", baseline="top", dx=3, dy=4, color=palette.NULL, fontSize=11)
        .encode(x=alt.value(0), y="edge:Q", text="label:N", tooltip=told)
    )
    return _finished(alt.layer(rule, lines, label), title, 262)


def energy(title: str, suspect: Spectrum, control: Spectrum | None, top: int) -> alt.Chart:
    """How much of ‖ΔW‖² the k largest singular values hold together, suspect over control."""
    frame = _by_rank({"suspect": suspect.energy, "control": control.energy if control else None}, top, "share")
    lines = (
        alt.Chart(frame)
        .mark_line(point={"size": 26, "filled": True}, strokeWidth=1.8)
        .encode(
            x=alt.X("rank:Q", title="rank k", axis=alt.Axis(tickMinStep=1, grid=False)),
            y=alt.Y(
                "share:Q",
                title="cumulative energy",
                scale=alt.Scale(domain=[0, 1]),
                axis=alt.Axis(format="%", tickCount=4),
            ),
            color=alt.Color("role:N", scale=ROLES, legend=None),
            tooltip=[
                alt.Tooltip("role:N", title="projector"),
                alt.Tooltip("rank:Q", title="largest k values"),
                alt.Tooltip("share:Q", title="share of ‖ΔW‖²", format=".1%"),
            ],
        )
    )
    return _finished(lines, title, 232)


def distribution(
    title: str, shifts: Mapping[str, np.ndarray], marks: Mapping[str, float], domain: tuple[float, float], measure: str
) -> alt.LayerChart:
    """How far all patches are pushed by one projector, clean and triggered over each other.

    shifts: {condition: values}; marks: {condition: mean shift of the picture on screen}; domain: of the shift axis,
    which the charts of several projectors share.
    """
    edges = np.linspace(*domain, BINS + 1)
    rows = [
        {"condition": condition, "from": low, "to": high, "share": share}
        for condition, values in shifts.items()
        for low, high, share in zip(edges[:-1], edges[1:], np.histogram(values, edges)[0] / len(values), strict=True)
    ]
    x = {"scale": alt.Scale(domain=list(domain), nice=False), "title": f"{measure} (embedding units)"}
    colour = alt.Color("condition:N", scale=CONDITIONS, legend=alt.Legend(**_KEY))
    layers = [
        alt.Chart(pd.DataFrame(rows))
        .mark_bar(opacity=0.55, binSpacing=0)
        .encode(
            x=alt.X("from:Q", bin="binned", axis=alt.Axis(tickCount=6, grid=False), **x),
            x2="to:Q",
            y=alt.Y(
                "share:Q",
                title="share of patches (√ scale)",  # or the few that the trigger touches would not be seen
                stack=None,
                scale=alt.Scale(type="sqrt"),
                axis=alt.Axis(format="~%", values=[0, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1]),
            ),
            color=colour,
            tooltip=[
                alt.Tooltip("condition:N"),
                alt.Tooltip("from:Q", format=".3g"),
                alt.Tooltip("to:Q", format=".3g"),
                alt.Tooltip("share:Q", title="share of patches", format=".1%"),
            ],
        )
    ]
    if marks:
        here = pd.DataFrame([{"condition": condition, "mean": mean} for condition, mean in marks.items()])
        layers.append(
            alt.Chart(here)
            .mark_rule(strokeWidth=2)
            .encode(
                x=alt.X("mean:Q", **x),
                color=colour,
                tooltip=[alt.Tooltip("condition:N"), alt.Tooltip("mean:Q", title="this picture's mean", format=".4g")],
            )
        )
    return _finished(alt.layer(*layers), title, 260)


def norm_shift(
    title: str, norms: Mapping[str, np.ndarray], shifts: Mapping[str, np.ndarray], fits: Mapping[str, NormShiftFit]
) -> alt.LayerChart:
    """Each token's shift against the norm of its base embedding, by condition, with the least-squares lines.

    Beyond MAX_POINTS a condition only a seeded sample of the tokens is drawn; the lines are fitted to all.
    """
    rng = np.random.default_rng(0)
    points, lines = [], []
    for condition, x in norms.items():
        y, fit = shifts[condition], fits[condition]
        shown = rng.choice(len(x), min(len(x), MAX_POINTS), replace=False)
        points.append(pd.DataFrame({"condition": condition, "norm": x[shown], "shift": y[shown]}))
        if fit.note is None:
            ends = np.array([x.min(), x.max()])
            lines.append(
                pd.DataFrame({"condition": condition, "norm": ends, "shift": fit.intercept + fit.slope * ends})
            )
    axes = {
        "x": alt.X("norm:Q", title="norm of the base embedding ‖E_b‖", scale=alt.Scale(zero=False)),
        "y": alt.Y("shift:Q", title="shift ΔE·v₀"),
    }
    colour = alt.Color("condition:N", scale=CONDITIONS, legend=alt.Legend(**_KEY))
    cloud = (
        alt.Chart(pd.concat(points))
        .mark_circle(size=12, opacity=0.35)
        .encode(
            **axes,
            color=colour,
            tooltip=[
                alt.Tooltip("condition:N"),
                alt.Tooltip("norm:Q", title="‖E_b‖", format=".4g"),
                alt.Tooltip("shift:Q", title="ΔE·v₀", format=".4g"),
            ],
        )
    )
    layers = [cloud]
    if lines:
        layers.append(alt.Chart(pd.concat(lines)).mark_line(strokeWidth=2.5).encode(**axes, color=colour))
    return _finished(alt.layer(*layers), title, 340)


def rates(title: str, rates_by_role: Mapping[str, Rate], of: str) -> alt.LayerChart:
    """One share of what `of` names per projector, as a dot with its 95 % interval, on the full scale of 0 to 100 %."""
    frame = pd.DataFrame(
        [
            {
                "projector": role,
                "label": f"{role}  {r.rate:.0%}",
                "rate": r.rate,
                "low": r.low,
                "high": r.high,
                "of": f"{r.hits} of {r.n}",
            }
            for role, r in rates_by_role.items()
        ]
    )
    colours = alt.Scale(domain=["base", "suspect", "control"], range=[palette.BASE, palette.SUSPECT, palette.CONTROL])
    tooltip = [
        alt.Tooltip("projector:N"),
        alt.Tooltip("rate:Q", format=".1%"),
        alt.Tooltip("low:Q", title="95 % interval from", format=".1%"),
        alt.Tooltip("high:Q", title="to", format=".1%"),
        alt.Tooltip("of:N", title="count"),
    ]
    y = alt.Y("label:N", title=None, sort=None, axis=alt.Axis(labelPadding=12, labelLimit=200, ticks=False))
    color = alt.Color("projector:N", scale=colours, legend=None)
    x = {"scale": alt.Scale(domain=[0, 1]), "axis": alt.Axis(format="%", tickCount=5), "title": f"share of {of}"}
    bounds = alt.Chart(frame).mark_rule(strokeWidth=3).encode(x=alt.X("low:Q", **x), x2="high:Q", y=y, color=color)
    dots = (
        alt.Chart(frame)
        .mark_circle(size=110, opacity=1)
        .encode(x=alt.X("rate:Q", **x), y=y, color=color, tooltip=tooltip)
    )
    return _finished(alt.layer(bounds, dots), title, 30 * len(rates_by_role) + 75)


def _finished(chart: alt.Chart | alt.LayerChart, title: str, height: int) -> alt.Chart | alt.LayerChart:
    """Title and spacing that all charts share; `height` in px, everything included."""
    return chart.properties(
        title=alt.Title(title, anchor="start", offset=4),
        height=height,
        padding={"left": 0, "right": 4, "top": 4, "bottom": 6},
    ).configure_axis(labelPadding=5, titlePadding=8)


def _by_rank(curves: Mapping[str, Sequence[float] | None], top: int, column: str) -> pd.DataFrame:
    """The first `top` values of each curve as rows (role, rank, column)."""
    return pd.concat(
        pd.DataFrame({"role": role, "rank": np.arange(1, len(values[:top]) + 1), column: values[:top]})
        for role, values in curves.items()
        if values is not None
    )
