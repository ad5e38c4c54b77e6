"""The low-rank lab: a grid of ranks as heatmaps, and what moves as one rank grows."""

from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd

from projlens_core.behaviour.lowrank import Grid
from projlens_core.charts import palette
from projlens_core.charts.style import CONDITIONS, finished, key_of, layered
from projlens_core.stats.mean import Mean
from projlens_core.stats.rate import Rate

CELL = 46  # px, a row's height
DARK, LIGHT = "#14101f", "#ffffff"  # text on a light and on a dark cell; it stands on the cell, never on the page
_TURN = 0.62  # share of the scale from which cells are light
_TEXTS = ("text", "share", "interval")  # of a cell: on it, its figure in full, its 95 % interval


def rate_grid(title: str, grid: Grid, rates: Mapping[tuple[int, int], Rate]) -> alt.LayerChart:
    """Shares by rank, along the axes of the grid, on the full scale of 0 to 100 %; cells not in `rates` wait."""
    measured = {
        cell: (rate.rate, f"{rate.hits}/{rate.n}", f"{rate.rate:.1%}", f"{rate.low:.1%} – {rate.high:.1%}")
        for cell, rate in rates.items()
    }
    titles = {"share": "share", "interval": "95 % interval", "text": "count"}
    return _grid(title, grid, measured, titles, (0.0, 1.0), "%")


def logit_grid(title: str, grid: Grid, logits: Mapping[tuple[int, int], Mean]) -> alt.LayerChart:
    """Mean target logits in the same places; cells not in `logits` wait."""
    measured = {
        cell: (mean.mean, f"{mean.mean:.1f}", f"{mean.mean:.2f}", f"{mean.low:.2f} – {mean.high:.2f}")
        for cell, mean in logits.items()
    }
    values = [mean.mean for mean in logits.values()] or [0.0]
    low, high = min(values), max(values)
    titles = {"share": "mean logit", "interval": "95 % interval"}
    return _grid(title, grid, measured, titles, (low, high) if low < high else (low - 1, high + 1), ".1f")


def _grid(
    title: str,
    grid: Grid,
    measured: Mapping[tuple[int, int], tuple[float, str, str, str]],
    titles: Mapping[str, str],
    domain: tuple[float, float],
    form: str,
) -> alt.LayerChart:
    """measured: of each cell the value of its colour, and its _TEXTS; titles: of those in the tooltip."""
    waiting = [
        {"row": r, "column": c, "text": "not yet", "share": "not yet"} for r, c in grid.wanted if (r, c) not in measured
    ]
    rows, columns, (down, across) = list(grid.rows), list(grid.columns), grid.axes
    axis = alt.Axis(labelAngle=0, ticks=False, domain=False)
    x = alt.X("column:O", title=f"k of {across}", sort=columns, scale=alt.Scale(domain=columns), axis=axis)
    y = alt.Y("row:O", title=f"k of {down}", sort=rows, scale=alt.Scale(domain=rows), axis=axis if down else None)
    place = [alt.Tooltip("row:O", title=f"k of {down}")] if down else []
    place.append(alt.Tooltip("column:O", title=f"k of {across}"))
    layers = []
    if waiting:
        empty = alt.Chart(pd.DataFrame(waiting)).encode(
            x=x, y=y, tooltip=[*place, alt.Tooltip("text:N", title="state")]
        )
        layers += [
            empty.mark_rect(fillOpacity=0.06, fill=palette.NULL, stroke=palette.NULL, strokeDash=[4, 3]),
            empty.mark_text(fontSize=11, color=palette.NULL).encode(text="text:N"),
        ]
    if measured:
        frame = pd.DataFrame(
            [
                {"row": row, "column": column} | dict(zip(("value", *_TEXTS), figures, strict=True))
                for (row, column), figures in measured.items()
            ]
        )
        tooltip = [alt.Tooltip(f"{name}:N", title=title) for name, title in titles.items()]
        turn = domain[0] + _TURN * (domain[1] - domain[0])
        cells = alt.Chart(frame).encode(x=x, y=y, tooltip=[*place, *tooltip])
        scale = alt.Scale(domain=list(domain), range=list(palette.SEQUENTIAL), clamp=True)
        key = alt.Legend(title=None, orient="bottom", format=form, gradientLength=160, gradientThickness=8, offset=4)
        layers += [
            cells.mark_rect(stroke=palette.NULL, strokeWidth=0.5).encode(
                color=alt.Color("value:Q", scale=scale, legend=key)
            ),
            cells.mark_text(fontSize=12).encode(
                text="text:N", color=alt.condition(alt.datum.value > turn, alt.value(DARK), alt.value(LIGHT))
            ),
        ]
    return finished(layered(*layers), title, CELL * len(rows) + 130).configure_view(strokeWidth=0)


def along_k(title: str, ranks: Sequence[int], logits: Mapping[str, Sequence[float]], now: int) -> alt.LayerChart:
    """The target logit of one image as k grows, clean and triggered, with the k on screen marked.

    logits: {condition: one value per rank}.
    """
    frame = pd.concat(
        pd.DataFrame({"condition": condition, "k": list(ranks), "logit": list(values)})
        for condition, values in logits.items()
    )
    x = alt.X("k:Q", title="k, of every ΔW", axis=alt.Axis(values=list(ranks), grid=False, format="d"))
    lines = (
        alt.Chart(frame)
        .mark_line(point={"size": 40, "filled": True}, strokeWidth=1.8)
        .encode(
            x=x,
            y=alt.Y("logit:Q", title="target logit", scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=4)),
            color=alt.Color("condition:N", scale=CONDITIONS, legend=key_of(logits, CONDITIONS, orient="bottom-right")),
            tooltip=[
                alt.Tooltip("condition:N"),
                alt.Tooltip("k:Q"),
                alt.Tooltip("logit:Q", title="target logit", format=".3f"),
            ],
        )
    )
    mark = (
        alt.Chart(pd.DataFrame([{"k": now}]))
        .mark_rule(strokeWidth=1.5, strokeDash=[5, 4], color=palette.NULL)
        .encode(x=x, tooltip=[alt.Tooltip("k:Q", title="k on screen")])
    )
    return finished(layered(mark, lines), title, 220)
