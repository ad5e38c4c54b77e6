"""Analyses of a case, one folder each; a line here makes one known at every door."""

from functools import cache
from importlib import import_module

from projlens_core.analyses.analysis import Analysis
from projlens_core.errors import NotFound

KEYS = (  # in the order of the sidebar and the report
    "verdict",
    "case",
    "spectrum",
    "activation",
    "shift",
    "lens",
    "neurons",
    "separability",
    "response",
    "lowrank",
    "robustness",
)


@cache
def find(key: str) -> Analysis:
    """The record of the analysis called `key`; NotFound, listing those there are, for any other."""
    if key not in KEYS:
        raise NotFound(f"There is no analysis {key!r}; there are {', '.join(KEYS)}.")
    return import_module(f"{__name__}.{key}").ANALYSIS


def of_part(name: str) -> str:
    """The key of the part of a report that has this name, or once had it; the name itself, if there is none."""
    return next((each.key for each in map(find, KEYS) if name in each.parts), name)


@cache
def of_command(name: str) -> Analysis | None:
    """The analysis whose command has this name, or once had it; None if there is none."""
    return next((each for each in map(find, KEYS) if name in (each.key, *each.commands)), None)
