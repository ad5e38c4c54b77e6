"""Is a stored chart one that ProjLens makes: does drawing it fetch nothing, follow no link and take bounded time?

Vega-Lite has many doors to the outside (data, images and paints by address, links, options of the renderer, tooltips
in which a field called "image" is drawn as one, expressions) and many ways to grow. So nothing is looked for that is
dangerous: `chart_grammar.json` lists what our own charts are made of, generated from them, place by place, and all else
is refused. A place is what stands under the same keys in any list. It allows what its entry names, by JSON's kinds:

    "object": {key: place}            these keys alone
    "list":   {"most", "of": place}   up to that many items
    "text":   [literal, …]            or <words>, <label> of a tooltip, <colour>, <data> by name, <view>,
                                      or "= expression" with # where any number may stand
    "number": [literal, …]            or <value> on an axis, <size> in px
    "bool", "null"

"columns" lists what the rows of its data may hold: number, text, bool, null, or image, a JPEG inside of a data URI.
"""

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from projlens_core.errors import InvalidInput
from projlens_core.inputs import jpeg
from projlens_core.runtime.text import printable

GRAMMAR_FILE = Path(__file__).with_name("chart_grammar.json")
MAX_MARKS = 50_000  # rows that are drawn, those of each layer counted
MAX_WORDS = 1_000  # characters of a title, of a name on an axis
MAX_CELL = 2_000  # characters of a row's text
MAX_SIZE = 10_000  # px
MAX_IMAGE = 1_000_000  # characters of one image
MAX_IMAGE_PIXELS = 2**20  # of it, each of its scans counted; ours have one of 640 × 640 at most
MAX_SEGMENTS = 100  # of it
MAX_IMAGES = 64  # in one chart
_SCHEMA = re.compile(r"https://vega\.github\.io/schema/vega-lite/v\d{1,2}(\.\d{1,3}){0,2}\.json")
_IMAGE = re.compile(r"data:image/jpeg;base64,([A-Za-z0-9+/]++={0,2})")
_LINE_ENDS = re.compile("[\u2028\u2029]")  # which end the expression that is made of a title
_NUMBER = r"-?[0-9]{1,20}(?:\.[0-9]{1,25})?(?:e[+-]?[0-9]{1,3})?"
_LARGEST = 2**63  # of whole numbers, which JSON has without end
_DRAWN_BY_TOOLTIPS = "image"  # a field of this name
_EXPRESSION = "= "


def require_inert(spec: dict) -> None:
    """InvalidInput, with the first thing found, if the specification is not made of what our own charts are."""
    if not isinstance(spec, dict) or not _is_text(spec.get("$schema", ""), _SCHEMA):
        raise _refusal("names another grammar than Vega-Lite's")
    drawn = {key: value for key, value in spec.items() if key not in ("$schema", "datasets")}
    _check(drawn, grammar()["chart"], "")
    for tooltip in _tooltips(drawn):
        if tooltip.get("title", tooltip.get("field")) == _DRAWN_BY_TOOLTIPS:
            raise _refusal("has a tooltip that draws images")
    datasets = spec.get("datasets", {})
    _check_counts(drawn, datasets)
    images = 0
    for rows in datasets.values():
        for row in rows:
            images += _check_row(row)
            if images > MAX_IMAGES:
                raise _refusal(f"holds more than {MAX_IMAGES} images")


def _check(part: object, place: dict, path: str) -> None:
    match part:
        case dict() if "object" in place:
            for key, value in part.items():
                if key not in place["object"]:
                    raise _refusal(f"has {_shown(key)} at {path or 'its top'}, as none of ProjLens' own does")
                _check(value, place["object"][key], f"{path}.{key}" if path else key)
        case list() if "list" in place:
            most = place["list"]["most"]
            if len(part) > most:
                raise _refusal(f"has {len(part):,} entries at {path}, where ProjLens' own have up to {most:,}")
            for item in part:
                _check(item, place["list"]["of"], f"{path}[]")
        case str() if _allowed_text(part, place.get("text", ())):
            pass
        case bool() if part in place.get("bool", ()):
            pass
        case None if "null" in place:
            pass
        case int() | float() if not isinstance(part, bool) and _allowed_number(part, place.get("number", ())):
            pass
        case _:
            raise _refusal(f"has {_shown(part)} as {path or 'a whole'}, as none of ProjLens' own does")


def _allowed_text(text: str, allowed: list[str]) -> bool:
    if _LINE_ENDS.search(text):
        return False
    return any(
        _KINDS[one](text) if one in _KINDS else _expression(one)(text) if one.startswith(_EXPRESSION) else text == one
        for one in allowed
    )


def _allowed_number(number: float, allowed: list) -> bool:
    if not _is_plain(number):
        return False
    if "<size>" in allowed and 0 < number <= MAX_SIZE:
        return True
    return "<value>" in allowed or number in [one for one in allowed if not isinstance(one, str)]


def _is_plain(number: float) -> bool:
    return math.isfinite(number) if isinstance(number, float) else abs(number) < _LARGEST


def _is_text(value: object, pattern: re.Pattern) -> bool:
    return isinstance(value, str) and (not value or pattern.fullmatch(value) is not None)


_KINDS: dict[str, Callable[[str], bool]] = {
    "<words>": lambda text: len(text) <= MAX_WORDS,
    "<label>": lambda text: len(text) <= MAX_WORDS,
    "<colour>": lambda text: re.fullmatch("#[0-9A-Fa-f]{6}", text) is not None,
    "<data>": lambda text: re.fullmatch("data-[0-9a-f]{8,64}", text) is not None,
    "<view>": lambda text: re.fullmatch("view_[0-9a-f]{1,64}(_[0-9]{1,9})?", text) is not None,
}


@cache
def _expression(template: str) -> Callable[[str], object]:
    parts = map(re.escape, template.removeprefix(_EXPRESSION).split("#"))
    return re.compile(_NUMBER.join(parts)).fullmatch


def _tooltips(drawn: dict) -> Iterator[dict]:
    for layer in (drawn, *drawn.get("layer", ())):
        tooltips = layer.get("encoding", {}).get("tooltip") or []
        yield from tooltips if isinstance(tooltips, list) else [tooltips]


def _check_counts(drawn: dict, datasets: object) -> None:
    """Every table that is drawn is there and no other, and all marks together are few enough."""
    if not isinstance(datasets, dict) or not all(isinstance(rows, list) for rows in datasets.values()):
        raise _refusal("has datasets that are no tables by name")
    whole = drawn.get("data")
    named = [layer.get("data", whole) for layer in drawn.get("layer", [drawn])]
    names = [data["name"] for data in named if data and "name" in data]
    if len(names) < len(named) or not datasets.keys() <= {*names, *_alone(whole)} or not datasets.keys() >= {*names}:
        raise _refusal("has data that are not inside it, or that it does not draw")
    marks = sum(len(datasets[name]) for name in names)
    if max([marks, *map(len, datasets.values())]) > MAX_MARKS:
        raise _refusal(f"draws {marks:,} marks, more than the {MAX_MARKS:,} that are opened")


def _alone(data: dict | None) -> list[str]:
    return [data["name"]] if data and "name" in data else []


def _check_row(row: object) -> int:
    """How many images it holds."""
    if not isinstance(row, dict):
        raise _refusal("has data that are not rows")
    images, columns = 0, grammar()["columns"]
    for column, value in row.items():
        kinds = columns.get(column)
        if kinds is None:
            raise _refusal(f"has data in a column {_shown(column)}, as none of ProjLens' own does")
        kind = _cell_kind(value, kinds)
        if kind is None:
            raise _refusal(f"has {_shown(value)} as data in the column {column}, as none of ProjLens' own does")
        images += kind == "image"
    return images


def _cell_kind(value: object, kinds: list[str]) -> str | None:
    """As what of the kinds the value passes; None if as none."""
    match value:
        case None:
            return "null"  # how JSON has what is not a number
        case bool():
            return "bool" if "bool" in kinds else None
        case int() | float():
            return "number" if "number" in kinds and _is_plain(value) else None
        case str() if "image" in kinds:
            return "image" if _is_image(value) else None
        case str():
            return "text" if "text" in kinds and len(value) <= MAX_CELL else None
    return None


def _is_image(uri: str) -> bool:
    found = _IMAGE.fullmatch(uri) if len(uri) <= MAX_IMAGE else None
    if found is None:
        return False
    try:
        data = base64.b64decode(found[1], validate=True)
    except binascii.Error:
        return False
    frame = jpeg.frame(data, MAX_SEGMENTS)
    drawn = frame.width * frame.height * frame.scans
    return data.startswith(b"\xff\xd8\xff") and frame.segments <= MAX_SEGMENTS and 0 < drawn <= MAX_IMAGE_PIXELS


@cache
def grammar() -> dict:
    """What our own charts are made of, as it is written above."""
    return json.loads(GRAMMAR_FILE.read_text(encoding="utf-8"))


def _shown(value: object) -> str:
    """What was found, shortened before it is written out: it may be of any size."""
    match value:
        case str():
            return repr(printable(value[:40]))
        case dict() | list():
            return f"a {'table of settings' if isinstance(value, dict) else 'list'} of {len(value):,} entries"
        case int() if not isinstance(value, bool) and abs(value) >= _LARGEST:
            return "a number of more digits than are read"
    return json.dumps(value)


def _refusal(what: str) -> InvalidInput:
    return InvalidInput(f"A chart {what}; only charts like those that ProjLens makes are opened.")
