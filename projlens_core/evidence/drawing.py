"""A chart as data and as a drawing, without the dashboard around it."""

import copy
import json
import threading

import altair as alt
import pandas as pd
import vl_convert

from projlens_core.charts.form import Filled

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


class StoredChart(alt.TopLevelMixin):
    """A chart that was kept as its specification, to be drawn as it is; what it was made of is gone."""

    def __init__(self, spec: dict):
        self._spec = spec

    def to_dict(self, *_: object, **__: object) -> dict:
        """The specification."""
        return copy.copy(self._spec)


def specification(chart: alt.TopLevelMixin) -> dict:
    """The chart as a Vega-Lite specification, its data inside, however many rows they are.

    The data are put in by hand: altair's own switch for that is global, and the dashboard's threads move it as well.
    Encodings must therefore name their types ("value:Q"). Not validated: rows one by one take longer than all else.
    """
    return chart.to_dict() if isinstance(chart, StoredChart | Filled) else _inlined(chart).to_dict(validate=False)


def _inlined(chart: alt.TopLevelMixin) -> alt.TopLevelMixin:
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
    if "width" not in fitted and not any(name in fitted for name in (*_NESTED[1:], "facet", "repeat")):
        fitted["width"] = width
        fitted["autosize"] = {"type": "fit-x", "contains": "padding"}
    own = fitted.get("config", {})
    fitted["config"] = own | {
        name: value | own.get(name, {}) if isinstance(value, dict) else value for name, value in _CONFIG.items()
    }
    return fitted


def svg(spec: dict) -> str:
    """The specification drawn as SVG. It is ours or was checked: what it draws is not bounded here, only what it loads.

    Nothing is fetched from anywhere.
    """
    with _lock:
        return vl_convert.vegalite_to_svg(json.dumps(spec), vl_version=VEGA_LITE, allowed_base_urls=[])


def javascript() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script that needs nothing else."""
    with _lock:
        return vl_convert.javascript_bundle(vl_version=VEGA_LITE)
