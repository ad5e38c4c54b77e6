"""The embedding shift of a set: spectra with bands, agreement with the weights, universality, images ranked."""

from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from projlens_core.activations.agreement import Agreement
from projlens_core.activations.embedding_spectrum import Band
from projlens_core.activations.ranking import By, Ranking
from projlens_core.charts import palette
from projlens_core.charts.style import CONDITIONS, ROLES, finished, key_of, layered

RIGHT_ANGLE = 90  # degrees
CHANCE: dict[str, Any] = {"strokeDash": [5, 4], "strokeWidth": 1.5, "color": palette.NULL}


def bands(
    title: str, curves: Mapping[str, Band], top: int, measure: str, domain: tuple[float, float], share: bool = False
) -> alt.LayerChart:
    """Mean curve over images by rank, clean and triggered, with the images' spread and the mean's 95 % interval.

    curves: {condition: band}; domain: of the axis called `measure`, which several charts share.
    """
    frame = pd.concat(
        pd.DataFrame(
            {
                "condition": condition,
                "rank": np.arange(1, len(band.mean[:top]) + 1),
                "mean": band.mean[:top],
                "below": np.clip(band.mean - band.std, *domain)[:top],
                "above": np.clip(band.mean + band.std, *domain)[:top],
                "low": band.low[:top],
                "high": band.high[:top],
            }
        )
        for condition, band in curves.items()
    )
    form = ".1%" if share else ".4g"
    x = alt.X("rank:Q", title="rank k", axis=alt.Axis(tickMinStep=1, grid=False))
    axis = alt.Axis(format="%", tickCount=4) if share else alt.Axis(tickCount=4)
    y: dict[str, Any] = {"title": measure, "scale": alt.Scale(domain=list(domain), nice=False), "axis": axis}
    # energy rises to the top right, singular values fall from the top left: the key lies where no curve is
    place = {"orient": "bottom-right"} if share else {}
    colour = alt.Color("condition:N", scale=CONDITIONS, legend=key_of(curves, CONDITIONS, **place, symbolOpacity=1))
    whole = alt.Chart(frame)
    spread = whole.mark_area(opacity=0.16).encode(x=x, y=alt.Y("below:Q", **y), y2="above:Q", color=colour)
    interval = whole.mark_area(opacity=0.4).encode(x=x, y=alt.Y("low:Q", **y), y2="high:Q", color=colour)
    line = whole.mark_line(point={"size": 22, "filled": True}, strokeWidth=1.6).encode(
        x=x,
        y=alt.Y("mean:Q", **y),
        color=colour,
        tooltip=[
            alt.Tooltip("condition:N"),
            alt.Tooltip("rank:Q", title="rank k"),
            alt.Tooltip("mean:Q", title=f"{measure}, mean", format=form),
            alt.Tooltip("low:Q", title="95 % interval from", format=form),
            alt.Tooltip("high:Q", title="to", format=form),
            alt.Tooltip("below:Q", title="one standard deviation below", format=form),
            alt.Tooltip("above:Q", title="and above", format=form),
        ],
    )
    return finished(layered(spread, interval, line), title, 240)


def agreement(title: str, by_role: Mapping[str, Agreement], direction: str) -> alt.LayerChart:
    """The angle between a drift direction and what the k strongest components of ΔW reach, beside chance.

    by_role: {"suspect": …, "control": …}, each with its own ΔW and its own drift.
    """
    frame = pd.concat(
        pd.DataFrame(
            {
                "role": role,
                "components": np.arange(1, len(found.share) + 1),
                "angle": found.angles[direction],
                "share": found.share,
                "dimensions": found.reach.sizes,
            }
        )
        for role, found in by_role.items()
    )
    longest = max(by_role.values(), key=lambda found: len(found.share))
    null = pd.DataFrame(
        {
            "components": np.arange(1, len(longest.share) + 1),
            "median": longest.chance_angle,
            "low": longest.chance_low,
            "label": "random direction",
        }
    )
    x = alt.X("components:Q", title="strongest components of ΔW", axis=alt.Axis(tickMinStep=1, grid=False))
    y: dict[str, Any] = {
        "title": "angle to the drift (°)",
        "scale": alt.Scale(domain=[0, RIGHT_ANGLE], nice=False),
        "axis": alt.Axis(values=[0, 30, 60, 90]),
    }
    tooltips = [
        alt.Tooltip("components:Q"),
        alt.Tooltip("median:Q", title="random direction, median (°)", format=".1f"),
        alt.Tooltip("low:Q", title="97.5 % of them beyond (°)", format=".1f"),
    ]
    chance = [
        alt.Chart(null).mark_area(opacity=0.15, color=palette.NULL).encode(x=x, y=alt.Y("low:Q", **y), y2="median:Q"),
        alt.Chart(null).mark_line(**CHANCE).encode(x=x, y=alt.Y("median:Q", **y), tooltip=tooltips),
        alt.Chart(null.tail(1))
        .mark_text(align="right", baseline="bottom", dy=-3, color=palette.NULL, fontSize=11)
        .encode(x=x, y=alt.Y("median:Q", **y), text="label:N", tooltip=tooltips),
    ]
    lines = (
        alt.Chart(frame)
        .mark_line(point={"size": 22, "filled": True}, strokeWidth=1.8)
        .encode(
            x=x,
            y=alt.Y("angle:Q", **y),
            color=alt.Color("role:N", scale=ROLES, legend=key_of(frame.role, ROLES, orient="bottom")),
            tooltip=[
                alt.Tooltip("role:N", title="projector"),
                alt.Tooltip("components:Q"),
                alt.Tooltip("dimensions:Q", title="dimensions reached"),
                alt.Tooltip("angle:Q", title="angle to the drift (°)", format=".1f"),
                alt.Tooltip("share:Q", title="share of ‖ΔE‖² inside", format=".1%"),
            ],
        )
    )
    return finished(layered(*chance, lines), title, 240)


def universality(
    title: str, cosines: Mapping[str, Mapping[str, np.ndarray]], names: tuple[str, ...], chance: float
) -> alt.LayerChart:
    """One tick per image: how closely its own drift direction follows the universal one.

    cosines: {role: {condition: |cos| (n,)}}, images in the order of names; chance: what random directions stay below.
    """
    frame = pd.concat(
        pd.DataFrame({"row": f"{role}, {condition}", "condition": condition, "picture": list(names), "cosine": values})
        for role, by_condition in cosines.items()
        for condition, values in by_condition.items()
    )
    x: dict[str, Any] = {
        "scale": alt.Scale(domain=[0, 1]),
        "title": "|cos| between an image's own drift direction and the universal",
    }
    ticks = (
        alt.Chart(frame)
        .mark_tick(thickness=1.5, opacity=1)
        .encode(
            x=alt.X("cosine:Q", **x),
            y=alt.Y("row:N", title=None, sort=None, axis=alt.Axis(labelLimit=200, ticks=False)),
            color=alt.Color("condition:N", scale=CONDITIONS, legend=None),
            tooltip=[
                alt.Tooltip("picture:N", title="image name"),
                alt.Tooltip("row:N"),
                alt.Tooltip("cosine:Q", format=".3f"),
            ],
        )
    )
    null = pd.DataFrame([{"chance": chance, "label": "random"}])
    tooltips = alt.Tooltip("chance:Q", title="97.5 % of random directions below", format=".3f")
    rule = alt.Chart(null).mark_rule(**CHANCE).encode(x=alt.X("chance:Q", **x), tooltip=tooltips)
    return finished(layered(rule, ticks), title, 75 + 34 * frame["row"].nunique())


def ranked(title: str, by_condition: Mapping[str, Ranking], by: By, limit: float) -> alt.Chart:
    """How far each image is pushed, the farthest first, clean and triggered each ranked on its own.

    limit: end of the axis of shifts, which the charts of several projectors share.
    """
    frame = pd.concat(
        pd.DataFrame(
            {
                "condition": condition,
                "picture": found.names,
                "place": found.places(by),
                "shift": getattr(found, by),
            }
        )
        for condition, found in by_condition.items()
    )
    dots = (
        alt.Chart(frame)
        .mark_circle(size=30, opacity=0.9)
        .encode(
            x=alt.X("place:Q", title="place, farthest pushed first", axis=alt.Axis(tickMinStep=1, grid=False)),
            y=alt.Y(
                "shift:Q",
                title=f"{by} |ΔE·v₀| of an image",
                scale=alt.Scale(domain=[0, limit], nice=False),
                axis=alt.Axis(tickCount=4),
            ),
            color=alt.Color("condition:N", scale=CONDITIONS, legend=key_of(frame.condition, CONDITIONS)),
            tooltip=[
                alt.Tooltip("picture:N", title="image name"),
                alt.Tooltip("condition:N"),
                alt.Tooltip("place:Q"),
                alt.Tooltip("shift:Q", title=f"{by} |ΔE·v₀|", format=".4g"),
            ],
        )
    )
    return finished(dots, title, 240)
