"""Images on screen as charts: the heatmap over an image, its legend, and the gallery one picks from.

An image keeps its aspect at any width: marks are placed in pixels by an expression over the chart's own size, which
the browser evaluates again whenever the page reflows.
"""

import base64
from collections.abc import Sequence
from functools import cache
from io import BytesIO
from typing import Any

import altair as alt
import numpy as np
import pyarrow as pa
from PIL import Image

from projlens_core.charts import palette
from projlens_core.charts.form import Filled, form, hole, named

MAX_SIDE = 640  # px sent to the browser
HEAT_HEIGHT = 328  # px, title and colour scale included; an image is as wide as it is high at 1440 px
OPACITY = 0.68
GALLERY_COLUMNS = 6
GALLERY_ROW = 46  # px
_SIDES = ("left", "top", "right", "bottom")
_OUTLINE = pa.schema([(side, pa.float64()) for side in _SIDES])
Box = tuple[float, float, float, float]
_TIGHT = {"left": 0, "right": 0, "top": 2, "bottom": 2}
_SIDE = "min(width, height)"
_SCALE_BELOW = alt.Legend(
    title=hole("measure"),
    titleFontWeight="normal",
    titleLimit=0,
    orient="bottom",
    direction="horizontal",
    offset={"expr": f"{_SIDE} - height + 10"},
    padding=0,
    gradientLength={"expr": f"{_SIDE} - 14"},  # room for the last number
    gradientThickness=10,
    gradientOpacity=1,
    tickCount=5,
    format=".3~g",
)


def data_uri(image: Image.Image, side: int = MAX_SIDE) -> str:
    """The image, scaled down to at most `side` px, as a JPEG in a data URI: to look at, not to measure."""
    small = image.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    small.save(buffer, "JPEG", quality=90, subsampling=0)  # a third of a PNG's bytes, and a trigger's noise still shows
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def wiped(before: Image.Image, after: Image.Image, share: float) -> Image.Image:
    """`before` up to a share of the width from the left, `after` beyond a thin line; both of one size."""
    edge = round(share * after.width)
    drawn = after.copy()
    drawn.paste(before.crop((0, 0, edge, before.height)), (0, 0))
    if 0 < edge < after.width:
        drawn.paste(palette.CHOSEN, (max(0, edge - 1), 0, min(after.width, edge + 1), after.height))
    return drawn


def colour_scale(limit: float, signed: bool) -> alt.Scale:
    """Magnitudes 0 … limit on the sequential scale, signed values −limit … limit on the diverging one."""
    if signed:
        return alt.Scale(domain=[-limit, limit], range=list(palette.DIVERGING), clamp=True)
    return alt.Scale(domain=[0, limit], range=list(palette.SEQUENTIAL), clamp=True)


def heatmap(
    title: str,
    image_uri: str,
    values: np.ndarray,
    limit: float,
    signed: bool,
    measure: str,
    chosen: int | None = None,
    within: Box = (0.0, 0.0, 1.0, 1.0),
    opacity: float = OPACITY,
    outline: Box | None = None,
) -> Filled:
    """values (rows, cols), one a token, as blocks over the square image, which stays visible beneath.

    within: x0, y0, x1, y1 of what the blocks cover, as shares of the image's sides: models may crop it. opacity: of the
    blocks, 0 to 1. outline: what is framed by a dashed line, such as a trigger's patch, in the same shares.

    The scale of colours stands below, so that a map saved by itself can be read; `measure` names it, with the unit. The
    image had better be grey: its own colours would mix with those that carry the values. The selection "patch" holds
    the token, counted from 0, of the block clicked; `chosen` has a frame around it.
    """
    rows, cols = values.shape
    row, col = np.indices(values.shape)
    blocks = pa.table(
        {
            "token": np.arange(values.size),
            "row": row.ravel() + 1,
            "column": col.ravel() + 1,
            "value": values.ravel().astype(float),
        }
    )
    framed = blocks.slice(chosen, 1) if chosen is not None else blocks.slice(0, 0)
    left, top, right, bottom = within
    wide, high = (right - left) / cols, (bottom - top) / rows
    return Filled(
        _heatmap_form(),
        {
            "picture": pa.table({"url": [image_uri]}),
            "blocks": blocks,
            "chosen": framed,
            "outline": pa.table(
                {name: [] if outline is None else [float(outline[i])] for i, name in enumerate(_SIDES)}, schema=_OUTLINE
            ),
        },
        {
            "title": title,
            "measure": measure,
            "opacity": opacity,
            "colours": colour_scale(limit, signed).to_dict(validate=False),
            "left": f"({left} + (datum.column - 1) * {wide}) * {_SIDE}",
            "right": f"({left} + datum.column * {wide}) * {_SIDE}",
            "top": f"({top} + (datum.row - 1) * {high}) * {_SIDE}",
            "bottom": f"({top} + datum.row * {high}) * {_SIDE}",
        },
    )


@cache
def _heatmap_form() -> dict:
    image = (
        named("picture")
        .mark_image(
            x={"expr": "0"},
            y={"expr": "0"},
            width={"expr": _SIDE},
            height={"expr": _SIDE},
            align="left",
            baseline="top",
            aspect=False,
            aria=False,  # the chart's own text says what it shows
        )
        .encode(url="url:N")
    )
    place: dict[str, Any] = {
        at: {"expr": hole(side)} for at, side in (("x", "left"), ("x2", "right"), ("y", "top"), ("y2", "bottom"))
    }
    patch = alt.selection_point(name="patch", fields=["token"], on="click", toggle=False, clear=False)
    blocks = (
        named("blocks")
        .mark_rect(
            opacity=hole("opacity"), cursor="pointer", aria=False, **place
        )  # a label for each is slow; tables say it
        .encode(
            color=alt.Color("value:Q", scale=hole("colours"), legend=_SCALE_BELOW),
            tooltip=[
                alt.Tooltip("row:Q", title="patch row"),
                alt.Tooltip("column:Q", title="patch column"),
                alt.Tooltip("value:Q", title=hole("measure"), format=".4g"),
            ],
        )
        .add_params(patch)
    )
    # Frames say nothing that could be heard: a mark without a text is a nameless image to whoever hears the page.
    marked = named("chosen").mark_rect(
        filled=False, stroke=palette.CHOSEN, strokeWidth=2.5, opacity=1, aria=False, **place
    )
    around: dict[str, Any] = {
        at: {"expr": f"datum.{side} * {_SIDE}"} for at, side in zip(("x", "y", "x2", "y2"), _SIDES, strict=True)
    }
    outlined = named("outline").mark_rect(
        filled=False, stroke=palette.TRIGGERED, strokeWidth=2, strokeDash=[5, 3], opacity=1, aria=False, **around
    )
    return form(
        alt.layer(image, blocks, marked, outlined)
        .properties(
            title=alt.Title(hole("title"), anchor="start", offset=8, limit={"expr": "width"}),
            height=HEAT_HEIGHT,
            padding=_TIGHT,
        )
        .configure_view(strokeWidth=0)
    )


def legend(title: str, limit: float, signed: bool) -> Filled:
    """The colour scale of one or several heatmaps as a bar of its own, with its unit."""
    low = -limit if signed else 0.0
    edges = np.linspace(low, limit, 61)
    reach = np.append(edges[2:], limit)  # each bar ends beneath the next, so that no seam shows
    bars = pa.table({"from": edges[:-1], "to": reach, "value": (edges[:-1] + edges[1:]) / 2})
    colours = colour_scale(limit, signed).to_dict(validate=False)
    return Filled(_legend_form(), {"bars": bars}, {"title": title, "domain": [low, limit], "colours": colours})


@cache
def _legend_form() -> dict:
    return form(
        named("bars")
        .mark_rect(opacity=1)
        .encode(
            x=alt.X(
                "from:Q",
                title=hole("title"),
                scale=alt.Scale(domain=hole("domain"), nice=False),
                axis=alt.Axis(
                    tickCount=5, grid=False, domain=False, labelPadding=3, titlePadding=5, titleFontWeight="normal"
                ),
            ),
            x2="to:Q",
            color=alt.Color("value:Q", scale=hole("colours"), legend=None),
            tooltip=[alt.Tooltip("value:Q", title=hole("title"), format=".3g")],
        )
        .properties(height=54, padding=_TIGHT | {"left": 4, "right": 12})
        .configure_view(strokeWidth=0)
    )


def gallery(names: Sequence[str], keys: Sequence[str], uris: Sequence[str], chosen: str | None) -> Filled:
    """Thumbnails to click on: the selection "pick" holds the key of the one clicked; `chosen` has a frame around it."""
    index = np.arange(len(keys))
    places = {"key": list(keys), "column": index % GALLERY_COLUMNS, "row": index // GALLERY_COLUMNS}
    images = pa.table({**places, "name": list(names), "url": list(uris)})
    framed = pa.table(places).slice(keys.index(chosen), 1) if chosen in keys else pa.table(places).slice(0, 0)
    height = GALLERY_ROW * -(-len(keys) // GALLERY_COLUMNS)
    return Filled(_gallery_form(), {"pictures": images, "framed": framed}, {"height": height})


@cache
def _gallery_form() -> dict:
    step = f"min(width / {GALLERY_COLUMNS}, {GALLERY_ROW})"
    centre: dict[str, Any] = {
        "x": {"expr": f"(datum.column + 0.5) * {step}"},
        "y": {"expr": f"(datum.row + 0.5) * {step}"},
    }
    pick = alt.selection_point(name="pick", fields=["key"], on="click", toggle=False, clear=False)
    images = (
        named("pictures")
        .mark_image(
            **centre,
            width={"expr": f"{step} - 5"},
            height={"expr": f"{step} - 5"},
            align="center",
            baseline="middle",
            aspect=False,
            cursor="pointer",
        )
        .encode(url="url:N", tooltip=alt.Tooltip("name:N", title="image name"))
        .add_params(pick)
    )
    frames = named("framed").mark_square(
        **centre,
        size={"expr": f"({step} - 4) * ({step} - 4)"},
        filled=False,
        stroke=palette.TRIGGERED,
        strokeWidth=3,
        opacity=1,
        aria=False,
    )
    drawn = alt.layer(images, frames).properties(padding=_TIGHT).configure_view(strokeWidth=0)
    return form(drawn) | {"height": hole("height")}
