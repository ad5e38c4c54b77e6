"""A stored chart is made of what our own are made of, or refused in one sentence; what it draws is counted first."""

import base64
import copy
import json
from io import BytesIO
from typing import Any

import altair as alt
import numpy as np
import pytest
from PIL import Image

from projlens_core.analyses.response import charts as rates
from projlens_core.analyses.shift import charts as embedding
from projlens_core.charts import overlays
from projlens_core.errors import InvalidInput
from projlens_core.report import drawing, inert
from projlens_core.report.bundle import unpack
from projlens_core.report.drawing import StoredChart, specification
from projlens_core.report.inert import require_inert
from projlens_core.stats.rate import wilson
from tests import chart_corpus, chart_grammar
from tests.core.test_bundle import EXHIBIT, repacked

OUTSIDE = "https://example.com/x"
IMAGE = overlays.data_uri(Image.new("RGB", (8, 8)))


@pytest.fixture(scope="module")
def corpus() -> list[dict]:
    return [specification(chart) for chart in chart_corpus.charts()]


def heatmap() -> dict:
    return specification(overlays.heatmap("Clean", IMAGE, np.zeros((2, 3)), 5.0, True, "shift", chosen=4))


def one_of_rates() -> dict:
    return specification(rates.rates("ASR", {"base": wilson(0, 10), "suspect": wilson(9, 10)}, "images"))


def changed(spec: dict, path: str, value: object) -> dict:
    """The chart with the value at a path like "layer.0.mark.type"; a table of its data is called by its number."""
    spec = copy.deepcopy(spec)
    names = path.split(".")
    if names[0] == "datasets" and len(names) > 1:
        names[1] = list(spec["datasets"])[int(names[1])]
    part: Any = spec
    for name in names[:-1]:
        part = part[int(name)] if isinstance(part, list) else part.setdefault(name, {})
    part[int(names[-1]) if isinstance(part, list) else names[-1]] = value
    return spec


def bundle_with(spec: dict) -> bytes:
    return repacked({EXHIBIT: {"charts": [{"name": "c", "spec": spec, "caption": "", "alt": ""}]}})


def test_the_grammar_is_that_of_every_chart_that_an_exhibit_holds(corpus):
    written = inert.GRAMMAR_FILE.read_text(encoding="utf-8")
    assert chart_grammar.written(chart_grammar.described(corpus)) == written, "run: python -m tests.chart_corpus"


def test_every_function_that_makes_a_chart_is_in_the_corpus(monkeypatch: pytest.MonkeyPatch):
    made = set()
    for module in chart_corpus.MODULES:
        for name, function in vars(module).copy().items():
            returned = getattr(function, "__annotations__", {}).get("return")
            kinds = [kind for kind in getattr(returned, "__args__", [returned]) if isinstance(kind, type)]
            public = not name.startswith("_") and getattr(function, "__module__", "") == module.__name__
            if public and any(issubclass(kind, alt.TopLevelMixin) for kind in kinds):
                made.add((module.__name__, name))

                def noted(*given, function=function, key=(module.__name__, name), **named):
                    made.discard(key)
                    return function(*given, **named)

                monkeypatch.setattr(module, name, noted)
    assert len(made) > 20
    list(chart_corpus.charts())
    assert {name for _, name in made} == chart_corpus.ON_PAGES_ONLY


def test_every_chart_of_ours_is_inert_and_what_altair_takes_for_a_chart(corpus):
    for spec in corpus:
        require_inert(json.loads(json.dumps(spec)))
    alt.Chart.from_dict({key: value for key, value in heatmap().items() if key != "datasets"})


def test_a_chart_of_a_version_with_other_looks_is_ours_too(corpus):
    marks = [spec for spec in corpus if "opacity" in spec.get("mark", {})]
    assert marks
    for spec in marks:
        require_inert(changed(spec, "mark.opacity", 0.37))


def test_the_grammar_allows_no_key_by_which_anything_is_loaded():
    def keys(place: dict):
        for key, inner in place.get("object", {}).items():
            yield key
            yield from keys(inner)
        yield from keys(place["list"]["of"]) if "list" in place else ()

    known = set(keys(inert.grammar()["chart"]))
    assert not known & {
        "href",
        "usermeta",
        "bind",
        "signal",
        "loader",
        "pivot",
        "lookup",
        "from",
        "content",
        "autosize",
    }
    assert inert.grammar()["columns"]["url"] == ["image"]


# name: (path in the heatmap, or in the chart of rates if it begins with "rates:", value)
HOSTILE: dict[str, tuple[str, object]] = {
    # what the issue names
    "a pivot that makes a column of addresses": ("transform", [{"pivot": "x", "value": "v", "groupby": ["url"]}]),
    "a tooltip of an encoding named image": ("layer.1.encoding.tooltip.0.title", "image"),
    "a filter of not": ("transform", [{"filter": {"not": "toString(datum)"}}]),
    "a filter of and": ("transform", [{"filter": {"and": ["toString(datum)"]}}]),
    "a test of or": ("rates:layer.1.encoding.color.condition", {"test": {"or": ["toString(datum)"]}, "value": "red"}),
    "a toggle that is an expression": ("layer.1.params", [{"name": "patch", "select": {"toggle": "toString(event)"}}]),
    "a format type of a function": ("rates:layer.1.encoding.x.axis.formatType", "toString"),
    "a width of 1e9": ("width", 1e9),
    # more of the kind: what is loaded
    "data by address": ("data", {"url": OUTSIDE}),
    "data by address in a layer": ("layer.0.data", {"url": OUTSIDE}),
    "a file as data": ("data", {"url": "file:///etc/passwd"}),
    "data that are made": ("data", {"sequence": {"start": 0, "stop": 1e9}}),
    "data of a place": ("layer.1.data", {"values": [{"token": 1}]}),
    "a graticule": ("data", {"graticule": {"step": [0.001, 0.001]}}),
    "a look-up": ("transform", [{"lookup": "x", "from": {"data": {"url": OUTSIDE}, "key": "x"}}]),
    "an image by address": ("layer.0.mark.url", OUTSIDE),
    "an image computed": ("layer.0.mark.url", {"expr": "'https://' + 'example.com'"}),
    "another field as an address": ("layer.0.encoding.url.field", "token"),
    "an address in the rows": ("datasets.0.0.url", OUTSIDE),
    "an image that may hold scripts": ("datasets.0.0.url", "data:image/svg+xml;base64,PHN2Zy8+"),
    "an image of another kind": ("datasets.0.0.url", "data:image/png;base64,iVBORw0KGgo="),
    "an image that is none": ("datasets.0.0.url", "data:image/jpeg;base64,AAAA"),
    "addresses as another column": ("transform", [{"calculate": "'https://example.com'", "as": "url"}]),
    "a fold into addresses": ("transform", [{"fold": ["token"], "as": ["key", "url"]}]),
    "a link": ("layer.1.encoding.href", {"value": OUTSIDE}),
    "a link of a mark": ("layer.1.mark.href", OUTSIDE),
    "options of the renderer": ("usermeta", {"embedOptions": {"patch": OUTSIDE}}),
    "a control elsewhere on the page": ("params", [{"name": "patch", "bind": {"input": "range", "element": "#x"}}]),
    "a cursor loaded": ("layer.1.mark.cursor", f"url({OUTSIDE}), auto"),
    "a paint loaded": ("layer.1.mark.fill", f"URL ({OUTSIDE}#a)"),
    "a colour of the rows": ("layer.1.encoding.color.scale", None),
    "a colour that is none": ("layer.1.encoding.color.scale.range.0", "url(#a)"),
    "a font loaded": ("config.font", f"url({OUTSIDE})"),
    "another grammar": ("$schema", f"{OUTSIDE}/vega-lite/v6.json"),
    "a configuration of the locale": ("config.locale", {"number": {"currency": [OUTSIDE, ""]}}),
    # what is computed
    "a tooltip computed": ("layer.1.mark.tooltip", {"expr": "{'image': 'https://example.com'}"}),
    "a tooltip of the whole row": ("layer.1.mark.tooltip", {"content": "data"}),
    "a tooltip of a field named image": ("layer.1.encoding.tooltip.0", {"field": "image", "type": "nominal"}),
    "a function in an expression": ("layer.1.mark.x.expr", "toString(datum)"),
    "a way round the field's name": ("title.text", {"expr": "datum['con' + 'structor']"}),
    "a signal": ("title.text", {"signal": "toString(datum)"}),
    "an expression in a label": ("rates:layer.1.encoding.x.axis.labelExpr", "toString(datum)"),
    "an expression that goes on": ("layer.1.mark.x2.expr", "(0 + datum.column * 1) * min(width, height) + f()"),
    "a number that is none": ("layer.1.mark.x2.expr", "(0 + datum.column * 1_000) * min(width, height)"),
    "digits of another script": ("layer.1.mark.x2.expr", "(0 + datum.column * ٣) * min(width, height)"),
    "an event that computes": ("params.0.select.on", "click[toString(event)]"),
    "a title that ends its expression": ("title.text", "a\u2028b"),
    "an axis's word that ends its expression": ("rates:layer.1.encoding.y.title", "a\u2029b"),
    # what grows
    "a height of 1e9": ("height", 1e9),
    "a height below zero": ("height", -5),
    "a height by the step": ("height", {"step": 1e9}),
    "ticks without end": ("rates:layer.1.encoding.x.axis.tickCount", 1e9),
    "ticks as many as it likes": ("rates:layer.1.encoding.x.axis.values", list(range(2_000))),
    "a colour scale of 1e9 px": ("layer.1.encoding.color.legend.gradientLength", 1e9),
    "letters of 1e9 px": ("rates:layer.1.mark.fontSize", 1e9),
    "a dot of 1e12 px²": ("rates:layer.1.mark.size", 1e12),
    "bins without end": ("rates:layer.1.encoding.x.bin", {"maxbins": 1e9}),
    "a step of 1e-9": ("rates:layer.1.encoding.x.bin", {"step": 1e-9}),
    "a density": ("transform", [{"density": "value", "steps": 1e9}]),
    "rows made of rows": ("transform", [{"impute": "value", "key": "row", "keyvals": {"start": 0, "stop": 1e9}}]),
    "a title of a megabyte": ("title.text", "a" * 1_000_000),
    "a number of 400 digits": ("layer.1.encoding.color.scale.domain.0", 10**400),
    "true for a number": ("height", True),
    "layers in layers": ("layer.0.layer", [{"mark": "point"}]),
    "a hundred layers": ("layer", [{"mark": {"type": "rect"}}] * 100),
    "charts side by side": ("hconcat", [{"mark": "point"}]),
    "a chart for each row": ("facet", {"field": "token", "type": "nominal"}),
    "a map": ("projection", {"type": "mercator"}),
    "depth": ("title", json.loads("[" * 400 + "]" * 400)),
    # what is no chart
    "nothing of the grammar": ("layer.0.mark.type", "rocket"),
    "a list as a chart": ("layer", {"mark": "point"}),
    "tables that are none": ("datasets", [1, 2]),
    "a table that is none": ("datasets.0", {"url": IMAGE}),
    "a row that is none": ("datasets.0.0", [IMAGE]),
    "a table in a row": ("datasets.1.0.value", {"a": 1}),
    "a column of no chart": ("datasets.1.0.secret", 1),
    "a column of every object": ("datasets.1.0.__proto__", 1),
    "a text where numbers stand": ("datasets.1.0.value", "1"),
    "a number that is infinite": ("datasets.1.0.value", float("inf")),
    "a cell of a megabyte": ("rates:datasets.0.0.label", "a" * 1_000_000),
    "a table by the name of every object's": ("layer.1.data.name", "__proto__"),
    "a table that is not there": ("layer.1.data.name", "data-" + "0" * 32),
    "a table that is not drawn": ("datasets.spare", []),
}


@pytest.mark.parametrize(("path", "value"), HOSTILE.values(), ids=HOSTILE)
def test_a_chart_of_anything_else_is_refused_in_one_sentence(path: str, value: object):
    spec = one_of_rates() if path.startswith("rates:") else heatmap()
    if path == "datasets.spare":
        spec["datasets"]["spare"] = value
    else:
        spec = changed(spec, path.removeprefix("rates:"), value)
    with pytest.raises(InvalidInput) as caught:
        require_inert(spec)
    said = str(caught.value)
    assert said.isprintable()
    assert len(said) < 300
    assert said.endswith("only charts like those that ProjLens makes are opened.")


def test_a_bundle_with_such_a_chart_says_which():
    with pytest.raises(InvalidInput, match=r"^exhibits/response\.json, chart c: A chart has 'width' at its top"):
        unpack(bundle_with(changed(heatmap(), "width", 1e9)))
    assert unpack(bundle_with(heatmap())).exhibits[0].charts[0].name == "c"


def many(rows: int) -> dict:
    cosines = {"suspect": {"clean": np.full(rows, 0.5)}}
    return specification(embedding.universality("Universal", cosines, tuple(map(str, range(rows))), 0.2))


def test_marks_are_counted_in_every_layer(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(inert, "MAX_MARKS", 12)
    require_inert(many(11))  # and one rule of chance
    with pytest.raises(InvalidInput, match="draws 13 marks, more than the 12"):
        require_inert(many(12))
    twice = one_of_rates()  # two layers of the same two rows
    monkeypatch.setattr(inert, "MAX_MARKS", 3)
    with pytest.raises(InvalidInput, match="draws 4 marks"):
        require_inert(twice)


def test_images_are_bounded_in_count_in_bytes_and_in_pixels(monkeypatch: pytest.MonkeyPatch):
    buffer = BytesIO()
    Image.new("L", (2_000, 2_000)).save(buffer, "JPEG")
    large = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
    assert len(large) < inert.MAX_IMAGE
    with pytest.raises(InvalidInput, match="as data in the column url"):
        require_inert(changed(heatmap(), "datasets.0.0.url", large))
    monkeypatch.setattr(inert, "MAX_IMAGES", 2)
    with pytest.raises(InvalidInput, match="more than 2 images"):
        require_inert(changed(heatmap(), "datasets.0", [{"url": IMAGE}] * 3))


# a stranger's chart is drawn apart, and no larger than its plot


@pytest.mark.parametrize("rate", [1.0, 1e3, 1e9, -1e9, 1e300])
def test_no_row_makes_a_strangers_drawing_larger(rate: float):
    spec = one_of_rates()
    for row in next(iter(spec["datasets"].values())):
        row["high"] = rate
    require_inert(spec)
    [svg], reason = drawing.strangers_svgs([StoredChart(spec).to_dict()])
    assert not reason
    width, height = (float(svg.split(f' {side}="')[1].split('"')[0]) for side in ("width", "height"))
    assert width < 1_000
    assert height < 1_000


def test_what_is_kept_of_a_strangers_chart_is_what_came():
    spec = heatmap()
    assert specification(StoredChart(spec)) == spec
    assert [layer["mark"]["clip"] for layer in StoredChart(spec).to_dict()["layer"]] == [True] * 4
    assert "clip" not in json.dumps(spec)


def test_a_strangers_chart_that_kills_the_engine_leaves_a_sentence_and_this_process(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(drawing, "BEGIN", 2)
    monkeypatch.setattr(drawing, "EACH", 0)
    endless = {"data": {"sequence": {"start": 0, "stop": 1e9}}, "mark": "point"}  # past the grammar
    drawn, reason = drawing.strangers_svgs([one_of_rates(), endless])
    assert drawn == [None, None]
    assert reason.startswith("A chart of the bundle ")
    assert reason.endswith(".")
    assert drawing.svg(one_of_rates()).startswith("<svg")


def test_what_the_engine_refuses_is_none_and_the_others_are_drawn():
    drawn, reason = drawing.strangers_svgs([one_of_rates(), {"mark": "rocket"}, one_of_rates()])
    assert [svg is not None for svg in drawn] == [True, False, True]
    assert not reason
