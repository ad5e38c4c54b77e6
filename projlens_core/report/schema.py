"""The schema of a case bundle's files (JSON Schema): what `bundle.unpack` accepts and nothing besides.

How many entries there may be is said before what each must be: it is then checked first.
"""

_TEXT = {"type": "string", "maxLength": 100_000}
_NAME = {"type": "string", "pattern": r"^[^/\\\x00-\x1f.][^/\\\x00-\x1f]{0,99}$"}  # a file can be called so
_KEY = {"type": "string", "pattern": r"^[a-z][a-z0-9-]{0,39}$"}
_OPTIONAL = {"type": ["string", "null"], "maxLength": 100_000}
_SHA = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_TEXTS = {"type": "object", "maxProperties": 200, "additionalProperties": _TEXT}


def _object(**properties: dict) -> dict:
    """An object with exactly these properties."""
    return {
        "type": "object",
        "required": list(properties),
        "additionalProperties": False,
        "properties": properties,
    }


def _list(items: dict, most: int) -> dict:
    return {"type": "array", "maxItems": most, "items": items}


MANIFEST = _object(
    format={"type": "string"},
    format_version={"type": "integer"},
    title=_TEXT,
    provenance=_object(
        created={"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$"},
        projlens=_TEXT,
        sources=_SHA,
        versions=_TEXTS,
        machine=_TEXTS,
        settings={"type": "object"},
        hashes={"type": "object", "maxProperties": 20, "additionalProperties": _SHA},
        command=_TEXT,
    ),
    missing=_list(_object(part=_TEXT, reason=_TEXT), 100),
    exhibits=_list(
        _object(file={"type": "string", "pattern": r"^exhibits/[a-z][a-z0-9-]{0,39}\.json$"}, sha256=_SHA), 60
    ),
)

EXHIBIT = _object(
    key=_KEY,
    title=_TEXT,
    question=_TEXT,
    metrics=_list(_object(label=_TEXT, value=_TEXT, control=_OPTIONAL, interval=_OPTIONAL, help=_OPTIONAL), 100),
    charts=_list(_object(name=_NAME, spec={"type": "object"}, caption=_TEXT, alt=_TEXT), 100),
    tables=_list(
        _object(
            name=_NAME,
            columns=_list(_TEXT, 1_000),
            rows={"type": "array", "maxItems": 200_000},  # what is in them is looked at faster by hand
            caption=_TEXT,
            help=_TEXTS,
        ),
        50,
    ),
    data={"type": "object"},
    notes=_list(_TEXT, 1_000),
)
