"""Hidden units: clean against triggered magnitude, their distributions, and the units that head a ranking."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from projlens_core.activations.neurons import NeuronFinding, Units
from projlens_core.charts import palette
from projlens_core.charts.style import CONDITIONS, KEY, PROJECTORS, finished, key_of, layered

MAX_DOTS = 4000  # more hide each other and slow the browser; those beyond chance come first
BINS = 40
WITHIN, BEYOND, SWITCHED_ON = "within chance", "beyond chance", "switched on"
_CLEAN, _TRIGGERED = "mean |a| on clean images", "mean |a| on triggered images"
# Magnitudes range over decades and may be zero: a root spreads the small ones, a logarithm would lose the zeros.
_ROOT = " (√ scale)"


def clean_against_triggered(title: str, finding: NeuronFinding, colour: str, limit: float) -> alt.LayerChart:
    """One dot per unit, `colour` where the trigger moves it beyond chance; the grey band is what chance does.

    limit: end of both axes, which the charts of several projectors share. The band has the median width of the units
    of about the same magnitude; whether a dot counts is decided by its own.
    """
    units, test = finding.units, finding.response
    clean, triggered = units.clean.magnitude, units.triggered.magnitude
    kind = np.select([finding.switches, test.beyond != 0], [SWITCHED_ON, BEYOND], WITHIN)
    frame = pd.DataFrame({"unit": np.arange(len(clean)), "clean": clean, "triggered": triggered, "kind": kind})
    frame["limit"] = test.cut * test.spread
    frame["rank"] = frame.kind.map([SWITCHED_ON, BEYOND, WITHIN].index)
    frame = frame.sample(frac=1, random_state=0).sort_values("rank", kind="stable").head(MAX_DOTS)[::-1]
    scale = alt.Scale(type="sqrt", domain=[0, limit], nice=False)
    x: dict[str, Any] = {"scale": scale, "title": _CLEAN + _ROOT, "axis": alt.Axis(tickCount=5, grid=False)}
    y: dict[str, Any] = {"scale": scale, "title": _TRIGGERED + _ROOT, "axis": alt.Axis(tickCount=5, grid=False)}
    kinds = alt.Scale(domain=[WITHIN, BEYOND, SWITCHED_ON], range=[palette.NULL, colour, palette.TRIGGERED])
    same = alt.Chart(pd.DataFrame({"x": [0, limit], "y": [0, limit]}))
    layers = [same.mark_line(strokeDash=[5, 4], color=palette.NULL).encode(x=alt.X("x:Q", **x), y=alt.Y("y:Q", **y))]
    if test.note is None:
        band = alt.Chart(_band(clean, test.cut * test.spread, limit))
        layers.insert(
            0,
            band.mark_area(color=palette.NULL, opacity=0.25).encode(
                alt.X("x:Q", **x), alt.Y("low:Q", **y), y2="high:Q"
            ),
        )
    dots = (
        alt.Chart(frame)
        .mark_circle(size=22, opacity=1)
        .encode(
            x=alt.X("clean:Q", **x),
            y=alt.Y("triggered:Q", **y),
            color=alt.Color("kind:N", scale=kinds, legend=key_of(frame.kind, kinds, orient="bottom-right")),
            tooltip=[
                alt.Tooltip("unit:Q"),
                alt.Tooltip("clean:Q", title="mean |a|, clean", format=".4g"),
                alt.Tooltip("triggered:Q", title="mean |a|, triggered", format=".4g"),
                alt.Tooltip("limit:Q", title="chance moves it by less than", format=".4g"),
                alt.Tooltip("kind:N", title="the trigger's effect"),
            ],
        )
    )
    return finished(layered(*layers, dots), title, 330)


def _band(clean: np.ndarray, width: np.ndarray, limit: float) -> pd.DataFrame:
    """The diagonal ± the median width of the units in each tenth of the magnitudes, for the length of the axis."""
    parts = np.array_split(np.argsort(clean, kind="stable"), min(10, len(clean)))
    centres = np.array([0.0, *(np.median(clean[part]) for part in parts), limit])
    widths = np.array([0.0, *(np.median(width[part]) for part in parts), 0.0])
    widths[-1] = widths[-2]
    return pd.DataFrame(
        {"x": centres, "low": np.clip(centres - widths, 0, limit), "high": np.clip(centres + widths, 0, limit)}
    )


def distributions(title: str, units: Units, limit: float) -> alt.Chart:
    """How many units have which mean magnitude on clean and on triggered images; limit: end of the magnitude axis."""
    edges = np.linspace(0, limit**0.5, BINS + 1) ** 2  # equally wide on the root's scale
    rows = [
        {"condition": condition, "from": low, "to": high, "units": int(count)}
        for condition, activity in (("clean", units.clean), ("triggered", units.triggered))
        for low, high, count in zip(edges[:-1], edges[1:], np.histogram(activity.magnitude, edges)[0], strict=True)
    ]
    x = alt.X(
        "from:Q",
        bin="binned",
        scale=alt.Scale(type="sqrt", domain=[0, limit], nice=False),
        title="mean |a| of a unit" + _ROOT,
        axis=alt.Axis(tickCount=6, grid=False),
    )
    bars = (
        alt.Chart(pd.DataFrame(rows))
        .mark_bar(fillOpacity=0.55, strokeWidth=0.8, binSpacing=0)
        .encode(
            x=x,
            x2="to:Q",
            y=alt.Y("units:Q", title="units", stack=None, axis=alt.Axis(tickCount=5)),
            color=alt.Color("condition:N", scale=CONDITIONS, legend=alt.Legend(**KEY)),
            stroke=alt.Stroke("condition:N", scale=CONDITIONS, legend=None),
            tooltip=[
                alt.Tooltip("condition:N"),
                alt.Tooltip("from:Q", format=".3g"),
                alt.Tooltip("to:Q", format=".3g"),
                alt.Tooltip("units:Q"),
            ],
        )
    )
    return finished(bars, title, 260)


def ranked(
    title: str, measure: str, unit_numbers: Sequence[int], values: Mapping[str, np.ndarray], chance: np.ndarray
) -> alt.LayerChart:
    """The suspect's leading units as bars, the same units of the other projectors as marks, chance as pale bars behind.

    values: {role: figure of each unit}, chance: what the suspect's figure would reach by chance, NaN where unknown;
    all in the order of unit_numbers.
    """
    order = [str(unit) for unit in unit_numbers]
    frame = pd.concat(
        pd.DataFrame({"unit": order, "projector": role, "value": figures}) for role, figures in values.items()
    )
    y = alt.Y("unit:N", sort=order, title="hidden unit", axis=alt.Axis(ticks=False, grid=False, labelOverlap=False))
    x = alt.X("value:Q", title=measure, axis=alt.Axis(tickCount=5))
    colour = alt.Color("projector:N", scale=PROJECTORS, legend=key_of(values, PROJECTORS, orient="bottom-right"))
    tooltip = [
        alt.Tooltip("unit:N", title="hidden unit"),
        alt.Tooltip("projector:N"),
        alt.Tooltip("value:Q", title=measure, format=".4g"),
    ]
    limit = (
        alt.Chart(pd.DataFrame({"unit": order, "value": chance}).dropna())
        .mark_bar(height=15, color=palette.NULL, fillOpacity=0.25, stroke=palette.NULL, strokeDash=[3, 2])
        .encode(x=x, y=y, tooltip=[tooltip[0], alt.Tooltip("value:Q", title="chance reaches", format=".4g")])
    )
    bars = alt.Chart(frame[frame.projector == "suspect"]).mark_bar(height=7)
    others = alt.Chart(frame[frame.projector != "suspect"]).mark_tick(thickness=3, height=13, opacity=1)
    layers = [chart.encode(x=x, y=y, color=colour, tooltip=tooltip) for chart in (bars, others)]
    return finished(layered(limit, *layers), title, 18 * len(order) + 70)
