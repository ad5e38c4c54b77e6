"""Values as JSON has them: what it lacks is null, and never a text that other readers refuse."""

import json
import math
from typing import Any


def plain(value: object) -> object:
    """The value ready for strict JSON: NaN and infinity become null, tuples lists, numpy's scalars Python's, keys text.

    Half a character, as names of files may hold where they are not UTF-8, becomes its escape: no file can hold it.
    """
    match value:
        case dict():
            return {_text(str(key)): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case str():
            return _text(value)
        case float():
            return value if math.isfinite(value) else None
        case _ if hasattr(value, "item"):
            return plain(value.item())
    return value


def as_json(value: object, **options: Any) -> str:
    """The value as strict JSON, characters as they are; options as of json.dumps."""
    return json.dumps(plain(value), allow_nan=False, **({"ensure_ascii": False} | options))


def _text(value: str) -> str:
    return value.encode("utf-8", "backslashreplace").decode()
