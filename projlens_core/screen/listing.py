"""What is to be screened: a list (CSV or JSON lines), a folder of models, or all models of an owner on the Hub."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from projlens_core.errors import InvalidInput, NotFound
from projlens_core.runtime.files import open_regular
from projlens_core.runtime.roots import admit
from projlens_core.runtime.text import printable
from projlens_core.sources import HUB_PREFIX, PREFIX, UPLOAD_PREFIX
from projlens_core.weights.checkpoint import ADAPTER_CONFIG
from projlens_core.weights.selection import WEIGHTS

SUSPECT, CONTROL = "suspect", "control"
LISTS = (".csv", ".jsonl", ".ndjson")
MAX_LIST = 2**30  # bytes; a million lines have some 100 MB
MAX_NAME = 4096  # characters of one entry
_FIELDS = ("suspect", "base", "truth")
_CONFIG = "config.json"


@dataclass(frozen=True)
class Listed:
    """One model to screen against `base`, both in any form that other commands open.

    role: "suspect", or "control" for an honest fine-tune that shows what honest ones look like. truth: what it is
    known to be ("poisoned", "honest"), where that is known; it decides nothing.
    """

    suspect: str
    base: str
    role: str = SUSPECT
    truth: str | None = None


@dataclass(frozen=True)
class Listing:
    """All that is to be screened, and what was passed over: (name, why)."""

    entries: tuple[Listed, ...]
    skipped: tuple[tuple[str, str], ...] = ()


def read_listing(where: str, base: str, controls: tuple[str, ...] = ()) -> Listing:
    """Suspects named by `where`, controls first: a CSV or JSON-lines file, a folder, or hub:OWNER.

    Relative paths in a list are relative to it. NotFound if there is nothing, InvalidInput for a list that is none and
    for one without suspects.
    """
    if where.startswith(HUB_PREFIX) and "/" not in where:
        from projlens_core.weights.hub_owner import models_of  # only where one is named: its client takes a second

        found = Listing(tuple(Listed(spec, base) for spec in models_of(where.removeprefix(HUB_PREFIX))))
    else:
        found = _here(Path(where).expanduser(), base)
    if not found.entries:
        raise InvalidInput(f"{printable(where)} lists no model to screen.")
    return Listing((*(Listed(each, base, CONTROL) for each in controls), *found.entries), found.skipped)


def _here(path: Path, base: str) -> Listing:
    admit(path)
    if path.is_dir():
        return _in_folder(path, base)
    missing = f"{printable(str(path))} does not exist; give a list, a folder of models, or hub:OWNER."
    if path.suffix not in LISTS and path.exists():
        raise InvalidInput(
            f"{printable(path.name)} is no list of suspects ({', '.join(LISTS)}); "
            "for one suspect there is `projlens verdict` and `projlens case`."
        )
    with open_regular(path, missing) as file:
        if file.size > MAX_LIST:
            raise InvalidInput(f"{printable(path.name)} has {file.size:,} bytes, more than a list may ({MAX_LIST:,}).")
        try:
            text = file.read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InvalidInput(f"{printable(path.name)} is no UTF-8 text; write the list as one.") from error
    rows = _of_csv(path.name, text) if path.suffix == ".csv" else _of_lines(path.name, text)
    return Listing(tuple(_entry(path, number, row, base) for number, row in rows))


def _of_csv(name: str, text: str) -> Iterator[tuple[int, dict]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        if "suspect" not in (reader.fieldnames or ()):
            raise InvalidInput(f"{printable(name)} has no column 'suspect'; its first line must name the columns.")
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise InvalidInput(f"{printable(name)} is no CSV in line {reader.line_num} ({error}).") from error


def _of_lines(name: str, text: str) -> Iterator[tuple[int, dict]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"Line {number} of {printable(name)} is no JSON.") from error
        yield number, row if isinstance(row, dict) else {"suspect": row}


def _entry(path: Path, number: int, row: dict, base: str) -> Listed:
    values = {name: row.get(name) or None for name in _FIELDS}
    wrong = [value for value in values.values() if value is not None and not isinstance(value, str)]
    if wrong or values["suspect"] is None or any(len(value or "") > MAX_NAME for value in values.values()):
        raise InvalidInput(
            f"Line {number} of {printable(path.name)} names no suspect; expected a path or name as text, and perhaps "
            "'base' and 'truth'."
        )
    own = _placed(path.parent, values["base"]) if values["base"] else base
    return Listed(_placed(path.parent, values["suspect"]), own, truth=values["truth"])


def _placed(folder: Path, name: str) -> str:
    """The name, a relative path taken from the folder that the list lies in."""
    if name.startswith((PREFIX, HUB_PREFIX, UPLOAD_PREFIX)) or Path(name).is_absolute() or name.startswith("~"):
        return name
    return str(folder / name)


def _in_folder(folder: Path, base: str) -> Listing:
    """Every model in the folder, by name; the folder itself if it is one."""
    try:
        entries = sorted(folder.iterdir())
        if any(entry.name in (_CONFIG, ADAPTER_CONFIG) for entry in entries):
            return Listing((Listed(str(folder), base),))
        found, skipped = [], []
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if _is_model(entry):
                found.append(Listed(str(entry), base))
            else:
                skipped.append((printable(entry.name), "neither a weight file nor a folder with one"))
    except OSError as error:
        raise NotFound(f"{printable(str(folder))} cannot be read ({error.strerror}).") from error
    return Listing(tuple(found), tuple(skipped))


def _is_model(entry: Path) -> bool:
    if not entry.is_dir():
        return entry.suffix in WEIGHTS
    return any(inner.suffix in WEIGHTS or inner.name in (_CONFIG, ADAPTER_CONFIG) for inner in entry.iterdir())
