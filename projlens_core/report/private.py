"""What a record that is handed on does not tell of the machine it was made on: who its user is."""

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from projlens_core.report.record import Record


def without_home(record: Record) -> Record:
    """The record with the user's home folder as ~ in settings, command, data, notes and reasons; names open as before.

    Other paths stay as they were typed: without them nobody could tell which files the findings are about.
    """
    provenance = record.provenance
    return replace(
        record,
        provenance=replace(
            provenance, settings=abbreviated(provenance.settings), command=abbreviated(provenance.command)
        ),
        exhibits=tuple(
            replace(each, data=abbreviated(each.data), notes=abbreviated(each.notes)) for each in record.exhibits
        ),
        missing=tuple(replace(part, reason=abbreviated(part.reason)) for part in record.missing),
    )


def abbreviated(value: Any) -> Any:
    """The value with the home folder as ~ in every text of it."""
    if isinstance(value, str):
        value = value.encode("utf-8", "backslashreplace").decode()  # a name that is not UTF-8, which no file can hold
        home = os.path.expanduser("~").rstrip("/")
        return value.replace(f"{home}/", "~/") if home not in ("", "~") else value
    if isinstance(value, Mapping):
        return {key: abbreviated(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(abbreviated(each) for each in value)
    return value
