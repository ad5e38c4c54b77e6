"""Which test modules the fast floor holds: those that reach, by what they and what they import import at their top,
nothing that takes seconds to import, and that start no processes themselves. `make test-fast` runs them.
"""

import ast
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEAVY = {"transformers", "streamlit", "peft", "playwright"}
STARTS = {"subprocess", "multiprocessing"}


def is_fast(file: Path) -> bool:
    """Whether the fast floor holds the test module in this file."""
    return not (_imported(file) & STARTS or _reached(file) & HEAVY)


def _reached(file: Path) -> set[str]:
    """The top names of all packages that come with the module, and those that conftest.py brings with it."""
    seen: set[str] = set()
    left = [*_imported(file)]
    while left:
        name = left.pop()
        if name not in seen:
            seen.add(name)
            if inside := _file(name):
                left += [*_imported(inside), name.rpartition(".")[0]]
    return {name.split(".")[0] for name in seen if name and not _file(name)}


def _file(name: str) -> Path | None:
    place = ROOT.joinpath(*name.split("."))
    return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)


@cache
def _imported(file: Path) -> frozenset[str]:
    """Names of modules, and of what is taken from them, that are imported as the file is."""
    return frozenset(_names(ast.parse(file.read_text(encoding="utf-8")).body))


def _names(body: Sequence[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{each.name}" for each in node.names)
        elif isinstance(node, ast.If) and not (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
            yield from _names([*node.body, *node.orelse])
        elif isinstance(node, (ast.Try, ast.With, ast.ClassDef)):
            yield from _names(node.body)
