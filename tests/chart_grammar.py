"""What charts are made of, as the grammar that `report.inert` reads: for each place what may stand there.

A place is what stands under the same keys in any list: all layers are one place. What differs from case to case (words
on screen, values on axes, colours, names of data) is noted by its kind, all else as it is.
"""

import json
import re
from collections.abc import Iterable

WORDS = ("title", "text", "sort[]", "domain[]", "values[]")  # ends of places whose strings are free
VALUES = ("sort[]", "domain[]", "values[]")  # whose numbers are
LONG = (*VALUES, "range[]")  # lists as long as the case has projectors, ranks, words
LOOKS = ("opacity", "Opacity", "strokeWidth", "dx", "dy")  # how marks look: no reason to refuse a former version's
MOST = 1_000  # entries of these
DATA, VIEWS = "data.name", ("layer[].name", "views[]", "name")
EXPRESSIONS = ("expr", "calculate", "test", "labelExpr", "filter")
TOOLTIP = "tooltip[].title"
_COLOUR = re.compile(r"#[0-9A-Fa-f]{6}")


def described(specs: Iterable[dict]) -> dict:
    """The grammar of these Vega-Lite specifications."""
    place: dict = {}
    columns: dict[str, set[str]] = {}
    for spec in specs:
        for rows in spec["datasets"].values():
            for row in rows:
                for column, value in row.items():
                    columns.setdefault(column, set()).add(_cell(column, value))
        _describe({key: value for key, value in spec.items() if key not in ("$schema", "datasets")}, place, "")
    return {"columns": {name: sorted(kinds) for name, kinds in sorted(columns.items())}, "chart": place}


def written(grammar: dict) -> str:
    """As it lies in its file: leaves on one line, so that a change can be read."""
    text = json.dumps(grammar, indent=1, sort_keys=True, ensure_ascii=False)
    return re.sub(r"\[\s+([^\[\]{}]*?)\s+\]", lambda m: "[" + re.sub(r"\s*\n\s*", " ", m[1]) + "]", text) + "\n"


def _describe(value: object, place: dict, path: str) -> None:
    match value:
        case dict():
            keys = place.setdefault("object", {})
            for key, item in value.items():
                _describe(item, keys.setdefault(key, {}), f"{path}.{key}" if path else key)
        case list():
            items = place.setdefault("list", {"most": 0, "of": {}})
            items["most"] = MOST if f"{path}[]".endswith(LONG) else max(items["most"], len(value))
            for item in value:
                _describe(item, items["of"], f"{path}[]")
        case str():
            _note(place, "text", _text(value, path))
        case bool():
            _note(place, "bool", value)
        case None:
            _note(place, "null", None)
        case _:
            _note(place, "number", _kind(value, path))


def _note(place: dict, kind: str, value: object) -> None:
    allowed = place.setdefault(kind, [])
    if value not in allowed:
        allowed.append(value)
        allowed.sort(key=str)


def _text(value: str, path: str) -> str:
    key = path.rpartition(".")[2]
    if key in EXPRESSIONS:
        return "= " + template(value)
    if path.endswith(DATA) and value.startswith("data-"):
        return "<data>"
    if path.endswith(VIEWS) and value.startswith("view_"):
        return "<view>"
    if _COLOUR.fullmatch(value):
        return "<colour>"
    if path.endswith(TOOLTIP):
        return "<label>"
    return "<words>" if path.endswith(WORDS) and not path.endswith("mark.text") else value


def template(expression: str) -> str:
    """The expression with # in place of its numbers, signs included."""
    return re.sub(r"(?<![\w.])(?:(?<![\w)] )(?<![\w)])-)?\d+(?:\.\d+)?(?:e[+-]?\d+)?", "#", expression)


def _kind(value: float, path: str) -> object:
    if path == "height":
        return "<size>"
    return "<value>" if path.endswith((*VALUES, *LOOKS)) else value


def _cell(column: str, value: object) -> str:
    if isinstance(value, str):
        return "image" if column == "url" else "text"
    return "null" if value is None else "bool" if isinstance(value, bool) else "number"
