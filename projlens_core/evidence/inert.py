"""Is a stored chart inert: does drawing it fetch nothing, follow no link and reach nothing outside itself?

Vega-Lite has few doors to the outside: data by URL, images by URL, links, the renderer's own options carried in
`usermeta`, controls bound to elements of the page, CSS in colours and cursors, tooltips, in which a field called
"image" is drawn as one, and expressions, a language with functions of its own.
Data have to be inside; images have to be data URIs; expressions are arithmetic and comparisons over a row's fields and
the chart's size; the rest is refused.
"""

import re

from projlens_core.errors import InvalidInput

MAX_DEPTH = 40
_SCHEMA = re.compile(r"https://vega\.github\.io/schema/vega-lite/v\d+(\.\d+)*\.json")
_PICTURE = re.compile(r"data:image/(png|jpeg|webp);base64,[A-Za-z0-9+/]*={0,2}")
_PAINT = re.compile(r"url\s*\(", re.IGNORECASE)  # CSS, in a colour or a cursor
_LINE_ENDS = re.compile("[\u2028\u2029]")
_REFUSED = ("usermeta", "href", "element", "loader")
_DRAWN_BY_TOOLTIPS = "image"
_EXPRESSIONS = ("expr", "calculate", "filter", "test", "labelExpr", "signal", "update")
_EVENTS = ("on", "clear", "translate", "zoom")  # of a selection: a word, or a selector with expressions in it
_QUOTED = re.compile(r"'[^'\\]*'|\"[^\"\\]*\"")
_ARITHMETIC = re.compile(  # possessive (++): a match is tried one way only, however it was written
    r"(?:datum\.(?!constructor|prototype|__)[A-Za-z]\w*+(?!\s*\()|\b(?:width|height|min|max)\b|\d++(?:e-?\d++)?+"
    r"|[\s.+\-*/%()<>=!&|?:,])*+"
)


def require_inert(spec: dict) -> None:
    """InvalidInput, with the first thing found, if the specification is anything but a self-contained drawing."""
    schema = spec.get("$schema", "")
    if not (isinstance(schema, str) and (not schema or _SCHEMA.fullmatch(schema))):
        raise _refusal("names another grammar than Vega-Lite's")
    datasets = spec.get("datasets", {})
    if not isinstance(datasets, dict):
        raise _refusal("has datasets that are no table by name")
    for rows in datasets.values():
        _check_rows(rows)
    _check({key: value for key, value in spec.items() if key not in ("$schema", "datasets")}, 0)


def _check(part: object, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise _refusal(f"is nested more than {MAX_DEPTH} deep")
    if isinstance(part, list):
        for item in part:
            _check(item, depth + 1)
    if isinstance(part, str) and _PAINT.search(part):
        raise _refusal("loads something to paint with")
    if isinstance(part, str) and _LINE_ENDS.search(part):
        raise _refusal("has a title with a Unicode line separator, which ends the expression made of it")
    if not isinstance(part, dict):
        return
    for key, value in part.items():
        if key in _REFUSED:
            raise _refusal(f"holds {key!r}, which reaches outside of it")
        texts = [text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)]
        if key in _EXPRESSIONS and not all(_ARITHMETIC.fullmatch(_QUOTED.sub("0", text)) for text in texts):
            raise _refusal("computes by more than arithmetic")
        if key in _EVENTS and not all(text.isalpha() for text in texts):
            raise _refusal("answers to more than a plain event")
        match key:
            case "url":
                _check_url(value)
            case "data":
                _check_data(value)
                continue
            case "tooltip":
                _check_tooltip(value)
            case "cursor" if not (isinstance(value, str) and value.replace("-", "").isalpha()):
                raise _refusal("has a cursor that is computed")
        _check(value, depth + 1)
    made = part.get("as")
    if any(name in ("url", _DRAWN_BY_TOOLTIPS) for name in (made if isinstance(made, list) else [made])):
        raise _refusal("computes an address to load")


def _check_url(value: object) -> None:
    """The address of an image mark: a data URI, or the field of that name, whose values are."""
    if isinstance(value, dict):
        if value.get("field") != "url" or value.keys() - {"field", "type"}:
            raise _refusal("loads images by something other than its own data")
    elif not (isinstance(value, str) and _PICTURE.fullmatch(value)):
        raise _refusal("loads something from an address")


def _check_data(value: object) -> None:
    if value is None:
        return
    if not isinstance(value, dict) or not value.keys() <= {"name", "values"}:
        raise _refusal("has data that are not inside it")
    if "values" in value:
        _check_rows(value["values"])


def _check_rows(rows: object) -> None:
    if not isinstance(rows, list):
        raise _refusal("has data that are not rows")
    for row in rows:
        if not isinstance(row, dict):
            raise _refusal("has data that are not rows")
        if "url" in row and not (isinstance(row["url"], str) and _PICTURE.fullmatch(row["url"])):
            raise _refusal("loads images from an address")
        for value in row.values():
            if isinstance(value, dict | list):
                raise _refusal("has data with tables inside of rows")
            if isinstance(value, str) and _PAINT.match(value.lstrip()):
                raise _refusal("loads something to paint with")


def _check_tooltip(value: object) -> None:
    """Tooltips list fields; an expression, or a field shown under the name that a tooltip takes for a picture, no."""
    if value is None or isinstance(value, bool) or value == {"content": "encoding"}:
        return
    for entry in value if isinstance(value, list) else [value]:
        if not isinstance(entry, dict) or entry.keys() & {"expr", "signal", "content"}:
            raise _refusal("has a tooltip that is computed")
        if entry.get("title") == _DRAWN_BY_TOOLTIPS or (
            "title" not in entry and entry.get("field") == _DRAWN_BY_TOOLTIPS
        ):
            raise _refusal("has a tooltip that loads pictures")


def _refusal(what: str) -> InvalidInput:
    return InvalidInput(f"A chart {what}; only charts that hold all they draw are opened.")
