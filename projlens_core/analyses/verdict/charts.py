"""Probes by how far they unsettle the suspect's answers beyond base's."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from projlens_core.charts import palette

SHOWN = 14  # probes


def probes(names: Sequence[str], by_role: dict[str, Sequence[float]]) -> alt.Chart:
    """Bars by probe, the best on top, with a mark of the control where there is one; nats."""
    rows = [
        {"probe": name, "role": role, "excess": value}
        for role, values in by_role.items()
        for name, value in list(zip(names, values, strict=True))[:SHOWN]
    ]
    frame = pd.DataFrame(rows, columns=["probe", "role", "excess"])
    colours = {"suspect": palette.SUSPECT, "control": palette.CONTROL}
    roles = list(by_role)
    colour = alt.Color(
        "role:N", title=None, scale=alt.Scale(domain=roles, range=[colours[role] for role in roles]),
        legend=alt.Legend(orient="top"),
    )  # fmt: skip
    x = alt.X("excess:Q", title="drop of own answers beyond base's (nats)")
    y = alt.Y("probe:N", sort=list(names), title=None, axis=alt.Axis(labelLimit=260))
    tooltip: list[Any] = ["probe:N", "role:N", alt.Tooltip("excess:Q", format=".2f")]
    base = alt.Chart(frame).encode(x=x, y=y, color=colour, tooltip=tooltip)
    return (
        (
            base.transform_filter(alt.datum.role == "suspect").mark_bar(height={"band": 0.7})
            + base.transform_filter(alt.datum.role == "control").mark_tick(thickness=3, opacity=1, height={"band": 0.7})
        )
        .properties(title="Probes that unsettle the suspect most")
    )  # fmt: skip
