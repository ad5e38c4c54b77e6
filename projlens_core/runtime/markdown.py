"""Markdown that ProjLens writes of itself: tables, and the part of a document that a command renews."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from projlens_core.errors import InvalidInput
from projlens_core.runtime.atomic import write_atomically


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table; each row has as many cells as the head. What a model said may hold line breaks, which
    become spaces, and bars, which are escaped where they are not.
    """
    lines = ([re.sub(r"(?<!\\)\|", r"\\|", " ".join(cell.splitlines())) for cell in row] for row in rows)
    return [f"| {' | '.join(each)} |" for each in (head, ("---",) * len(head), *lines)]


def renew(document: Path, begin: str, end: str, lines: Iterable[str]) -> None:
    """Write what stands between the lines `begin` and `end` of a document anew; InvalidInput where it lacks them."""
    text = document.read_text(encoding="utf-8")
    write_atomically(document, renewed(text, begin, end, lines, str(document)).encode())


def renewed(text: str, begin: str, end: str, lines: Iterable[str], name: str = "the document") -> str:
    """The text with `lines` between `begin` and `end`, which stay; InvalidInput where it does not hold both in turn."""
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise InvalidInput(f"{name} has no part between {begin!r} and {end!r} that could be renewed; put them back.")
    return "\n".join([before + begin, *lines, end + after])
