"""How text from strangers' files is written in messages and on terminals: escaped, and names in short."""

import re
from collections.abc import Iterable

_SHOWN = 6  # names listed in an error before "and N more"
# Controls but tab and line feed, invisible format characters (those that turn text round among them), line and
# paragraph separators, and the halves of undecodable bytes: categories Cc, Cf, Zl, Zp and Cs of Unicode.
_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0001-\U000e007f\ud800-\udfff]"
)


def printable(name: str) -> str:
    """`name` with control characters and undecodable bytes escaped, so that it can stand in a message or a table."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name) or "the image"


def listed(names: Iterable[str]) -> str:
    """Tensor names for an error message: quoted, shortened, and no more than a reader can use."""
    shown = [repr(name if len(name) <= 80 else name[:77] + "…") for name in names]
    rest = len(shown) - _SHOWN
    return ", ".join(shown[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def visible(text: str, encoding: str = "utf-8") -> str:
    """The text with every character that steers a terminal, or that `encoding` lacks, as \\uXXXX.

    Inside a JSON string that is an escape of the same character, so JSON stays what it was.
    """
    text = _STEERING.sub(lambda hit: _escaped(hit[0]), text)
    if encoding.lower().replace("-", "").replace("_", "") == "utf8" or text.isascii():
        return text
    return "".join(c if _has(encoding, c) else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def _has(encoding: str, character: str) -> bool:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
