"""How names from strangers' files are written in messages: escaped, shortened, and no more than a reader can use."""

from collections.abc import Iterable

_SHOWN = 6  # names listed in an error before "and N more"


def printable(name: str) -> str:
    """`name` with control characters and undecodable bytes escaped, so that it can stand in a message or a table."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name) or "the image"


def listed(names: Iterable[str]) -> str:
    """Tensor names for an error message: quoted, shortened, and no more than a reader can use."""
    shown = [repr(name if len(name) <= 80 else name[:77] + "…") for name in names]
    rest = len(shown) - _SHOWN
    return ", ".join(shown[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
