"""Whatever a chart encodes or shows in a tooltip is a column of its data: a misspelt one would be drawn as nothing."""

from projlens_core.report.drawing import specification
from tests import chart_corpus

NESTED = ("layer", "hconcat", "vconcat", "concat")


def _units(spec, data=None):
    """(data, transforms, encoding) of every mark, what its parents say of data and encoding with it."""
    data = spec.get("data", data)
    inside = [each for key in NESTED for each in spec.get(key, [])]
    for each in inside:
        for found, transforms, encoding in _units(each, data):
            yield found, [*spec.get("transform", []), *transforms], spec.get("encoding", {}) | encoding
    if not inside and "encoding" in spec:
        yield data, spec.get("transform", []), spec["encoding"]


def _fields(part):
    """Every field that an encoding names, in conditions and sorts, too."""
    if isinstance(part, dict):
        if isinstance(part.get("field"), str):
            yield part["field"]
        for each in part.values():
            yield from _fields(each)
    elif isinstance(part, list):
        for each in part:
            yield from _fields(each)


def _made(transform):
    """The columns that a transform makes."""
    made = transform.get("as", [])
    yield from [made] if isinstance(made, str) else made
    for key in ("aggregate", "window", "joinaggregate"):
        yield from (each["as"] for each in transform.get(key, []))


def _missing(spec):
    for data, transforms, encoding in _units(spec):
        rows = spec["datasets"][data["name"]] if "name" in data else data["values"]
        columns = {column for row in rows for column in row} | {c for each in transforms for c in _made(each)}
        if rows:
            yield from set(_fields(encoding)) - columns


def test_every_field_is_a_column_of_the_charts_data():
    missing = {}
    for number, spec in enumerate(map(specification, chart_corpus.charts())):
        missing[number, str(spec.get("title"))] = sorted(_missing(spec))
    assert len(missing) > 50
    assert not {chart: fields for chart, fields in missing.items() if fields}


def test_a_field_that_is_no_column_is_found():
    spec = {"data": {"values": [{"image": 1}]}, "mark": "point", "encoding": {"tooltip": [{"field": "picture"}]}}
    assert list(_missing(spec)) == ["picture"]
    assert list(_missing({"layer": [spec]})) == ["picture"]
