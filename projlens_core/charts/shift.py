"""How far patches are pushed: the distribution of shifts, and shift against norm."""

from collections.abc import Mapping

import altair as alt
import numpy as np
import pandas as pd

from projlens_core.activations.norm_shift import NormShiftFit
from projlens_core.charts.style import CONDITIONS, KEY, finished

MAX_POINTS = 2000  # a condition; more points hide each other and slow the browser, and the fit uses all tokens anyway
BINS = 60


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
    colour = alt.Color("condition:N", scale=CONDITIONS, legend=alt.Legend(**KEY))
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
    return finished(alt.layer(*layers), title, 260)


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
    colour = alt.Color("condition:N", scale=CONDITIONS, legend=alt.Legend(**KEY))
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
    return finished(alt.layer(*layers), title, 340)
