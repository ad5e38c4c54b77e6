"""A chart as data and as a drawing, without the dashboard around it."""

import copy
import json
import threading
from collections.abc import Sequence
from functools import cache
from typing import Any

import altair as alt
import pandas as pd
import vl_convert

from projlens_core.charts.form import Filled
from projlens_core.errors import InvalidInput
from projlens_core.report import engine
from projlens_core.runtime.child import run_in_child

VEGA_LITE = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])  # the grammar that altair writes
_NESTED = ("layer", "hconcat", "vconcat", "concat")
_INK = "currentColor"  # the colour of the text around the chart, whichever theme and on paper
_FAINT = {"gridOpacity": 0.15, "domainOpacity": 0.4, "tickOpacity": 0.4}
_CONFIG = {
    "axis": {"labelColor": _INK, "titleColor": _INK, "domainColor": _INK, "tickColor": _INK, "gridColor": _INK}
    | _FAINT,
    "legend": {"labelColor": _INK, "titleColor": _INK},
    "title": {"color": _INK, "subtitleColor": _INK},
    "header": {"labelColor": _INK, "titleColor": _INK},
    "text": {"color": _INK},
    "view": {"stroke": None},
    "font": "system-ui, sans-serif",
    "aria": False,  # the figure around it says what it shows; a label a mark would double its size
}
_lock = threading.Lock()  # vl_convert has one JavaScript engine, which is not said to be safe between threads


# of the process in which strangers' charts are drawn: bytes, of which the engine takes 1 GB; seconds to begin, of each
# chart, and of all; bytes of all drawings
MEMORY, BEGIN, EACH, MOST, OUTPUT = 3 * 2**29, 10, 2, 120, 256 * 2**20


class StoredChart(alt.TopLevelMixin):
    """A chart that was kept as its specification; what it was made of is gone, and who made it is not known."""

    def __init__(self, spec: dict):
        self.spec = spec

    def to_dict(self, *_: object, **__: object) -> dict:
        """The specification to draw: no mark reaches beyond the plot, or its rows could make it any size."""
        if "layer" not in self.spec:
            return _clipped(self.spec)
        return self.spec | {"layer": [_clipped(layer) for layer in self.spec["layer"]]}


def _clipped(part: dict) -> dict:
    mark = part["mark"]
    return part | {"mark": (mark if isinstance(mark, dict) else {"type": mark}) | {"clip": True}}


def specification(chart: alt.TopLevelMixin) -> dict:
    """The chart as a Vega-Lite specification to keep, its data inside, however many rows they are.

    The data are put in by hand: altair's own switch for that is global, and the dashboard's threads move it as well.
    Encodings must therefore name their types ("value:Q"). Not validated: rows one by one take longer than all else.
    """
    if isinstance(chart, StoredChart):
        return copy.copy(chart.spec)
    return chart.to_dict() if isinstance(chart, Filled) else _inlined(chart).to_dict(validate=False)


def _inlined(chart: Any) -> Any:
    chart = chart.copy(deep=False)
    if isinstance(chart.data, pd.DataFrame):
        chart.data = alt.InlineData(alt.to_values(chart.data)["values"])
    for name in _NESTED:
        if name in chart._kwds and chart[name] is not alt.Undefined:
            chart[name] = [_inlined(part) for part in chart[name]]
    if "spec" in chart._kwds and chart["spec"] is not alt.Undefined:
        chart["spec"] = _inlined(chart["spec"])
    return chart


def fitted(spec: dict, width: int) -> dict:
    """The specification in the ink of the page it stands on, `width` px wide unless it says how wide itself."""
    fitted = copy.copy(spec)
    fitted["background"] = "transparent"
    if takes_width(fitted):
        fitted["width"] = width
        fitted["autosize"] = {"type": "fit-x", "contains": "padding"}
    own = fitted.get("config", {})
    fitted["config"] = own | {
        name: value | own.get(name, {}) if isinstance(value, dict) else value for name, value in _CONFIG.items()
    }
    return fitted


def takes_width(spec: dict) -> bool:
    """Whether the chart is as wide as it is asked to be, rather than as it says or as its parts are."""
    return "width" not in spec and not any(name in spec for name in (*_NESTED[1:], "facet", "repeat"))


def drawable(chart: alt.TopLevelMixin, width: int) -> dict:
    """The specification of a chart, ours or a stranger's, as it is drawn in a report."""
    return fitted(chart.to_dict() if isinstance(chart, StoredChart) else specification(chart), width)


def svg(spec: dict) -> str:
    """A specification of ours drawn as SVG."""
    with _lock:
        return engine.svg(json.dumps(spec), VEGA_LITE)


def strangers_svgs(specs: Sequence[dict]) -> tuple[list[str | None], str]:
    """Specifications that were checked drawn as SVG, in a process of their own; None for one that is no chart.

    Where the process does not come to its end there is no drawing at all, and the sentence why; else that is empty.
    """
    if not specs:
        return [], ""
    payload = {"specs": [json.dumps(spec) for spec in specs], "version": VEGA_LITE}
    bounds = {"memory": MEMORY, "seconds": min(BEGIN + EACH * len(specs), MOST), "output": OUTPUT}
    try:
        found = run_in_child("projlens_core.report.engine:svgs", payload, what="A chart of the bundle", **bounds)
    except InvalidInput as error:
        return [None] * len(specs), str(error)
    return _as_drawn(found.get("drawn"), len(specs)), ""


def _as_drawn(found: object, count: int) -> list[str | None]:
    """What the process gave, which may have been taken over: SVG and nothing besides."""
    drawn = found if isinstance(found, list) and len(found) == count else [None] * count
    return [svg if isinstance(svg, str) and svg.startswith("<svg ") else None for svg in drawn]


@cache
def javascript() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script that needs nothing else."""
    with _lock:
        # the snippet has a default, which the stub leaves out
        return vl_convert.javascript_bundle(vl_version=VEGA_LITE)  # type: ignore[call-arg]
