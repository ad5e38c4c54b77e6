"""Cases that were saved by a name, and those that were open last: addresses of pages, kept on this machine's disk.

Each saved one is a file of its own, so that sessions do not undo each other's. An address is all that is kept: nothing
computed, no uploaded image, no trigger that is in one browser session alone.
"""

import json
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

import streamlit as st

from dashboard.doors import is_loopback
from projlens_core.cases.case import Case
from projlens_core.errors import InvalidInput, ProjLensError
from projlens_core.runtime.atomic import write_atomically
from projlens_core.runtime.paths import saved_cases_dir
from projlens_core.runtime.text import printable

LONGEST_NAME = 80  # characters
MAX_SAVED = 200
MAX_BYTES = 2**16  # of a file
MAX_RECENT = 8
_RECENT = "recent.json"
_lock = threading.Lock()  # around the list of recent ones, which sessions share


@dataclass(frozen=True)
class SavedCase:
    """A page and the parameters of its address, by the name that the user gave; key: of its file."""

    key: str
    name: str
    page: str
    params: dict[str, str]


def saved() -> tuple[list[SavedCase], int]:
    """All saved cases by name, and how many files could not be read as one."""
    found = [_read(file) for file in _files()]
    cases = sorted((case for case in found if case), key=lambda case: (case.name.casefold(), case.key))
    return cases, sum(case is None for case in found)


def save(name: str, page: str, params: Mapping[str, str], key: str | None = None) -> SavedCase:
    """Keep an address under this name. key: of a case that it replaces, or brings back.

    InvalidInput if the name is empty or too long, the address too long, or there are too many.
    """
    shown = printable(name.strip()) if name.strip() else ""
    if not 0 < len(shown) <= LONGEST_NAME:
        raise InvalidInput(f"A case's name has 1 to {LONGEST_NAME} characters; this one has {len(shown)}.")
    if key is None and len(_files()) >= MAX_SAVED:
        raise InvalidInput(f"There are {MAX_SAVED} saved cases already; delete one first.")
    case = SavedCase(key or uuid4().hex, shown, page, dict(params))
    data = json.dumps(asdict(case)).encode()
    if len(data) > MAX_BYTES:
        raise InvalidInput(f"This address takes {len(data):,} bytes; at most {MAX_BYTES:,} are saved.")
    write_atomically(_folder() / f"{case.key}.json", data, "free space there, or set $PROJLENS_CACHE")
    return case


def rename(case: SavedCase, name: str) -> None:
    """Give it another name; nothing happens if another session has deleted it. InvalidInput as `save`."""
    if (_folder() / f"{case.key}.json").is_file():
        save(name, case.page, case.params, case.key)


def delete(case: SavedCase) -> None:
    """Take it away; `save` with its key brings it back. InvalidInput if the disk does not let go of it."""
    try:
        (_folder() / f"{case.key}.json").unlink(missing_ok=True)
    except OSError as error:
        raise InvalidInput(f"“{case.name}” cannot be deleted ({error.strerror}).") from error


def recent() -> list[Case]:
    """The cases that were open last, the newest first. Empty on a server that others can reach."""
    if not is_own():
        return []
    try:
        found = json.loads((_folder() / _RECENT).read_bytes()[:MAX_BYTES])
        return [Case.from_params(each) for each in found if _is_address(each)][:MAX_RECENT]
    except (OSError, ValueError, TypeError, RecursionError, InvalidInput):
        return []


def remember(case: Case) -> None:
    """Note that this case is open, on a server that serves its own machine alone; what the disk refuses is left."""
    if not is_own():
        return
    with _lock:
        known = [case, *(each for each in recent() if each != case)][:MAX_RECENT]
        try:
            write_atomically(_folder() / _RECENT, json.dumps([each.to_params() for each in known]).encode())
        except ProjLensError:
            return  # a convenience: no page fails for it


def is_own() -> bool:
    """Whether this server serves its own machine alone: then a list of recent cases is kept."""
    return is_loopback(st.get_option("server.address"))


def _folder() -> Path:
    folder = saved_cases_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"{printable(str(folder))} cannot be made ({error.strerror}).") from error
    return folder


def _files() -> list[Path]:
    return [file for file in _folder().glob("*.json") if file.name != _RECENT]


def _read(file: Path) -> SavedCase | None:
    """The case in this file; None if it is not one that was written here."""
    try:
        if file.stat().st_size > MAX_BYTES:
            return None
        said = json.loads(file.read_bytes())
        case = SavedCase(file.stem, said["name"], said["page"], said["params"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    texts = (case.name, case.page)
    return case if all(isinstance(text, str) for text in texts) and _is_address(case.params) else None


def _is_address(params: object) -> bool:
    return isinstance(params, dict) and all(isinstance(text, str) for pair in params.items() for text in pair)
