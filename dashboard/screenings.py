"""What the Screen page reads of a result folder, anew only where something was written to it."""

import json
from dataclasses import dataclass
from pathlib import Path

from dashboard import resources
from projlens_core.errors import InvalidInput, NotFound
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.files import open_regular
from projlens_core.runtime.roots import admit
from projlens_core.runtime.text import printable
from projlens_core.screen import table
from projlens_core.screen.run import PROGRESS, SETTINGS, ScreenProgress
from projlens_core.screen.store import Store

KEPT = 4  # tables, for the whole process
MAX_JSON = 2**20  # bytes of the small files beside the table


@dataclass(frozen=True)
class Screening:
    """A result folder as it is now: its table, stages in order, base; progress is None once all is done."""

    folder: Path
    table: table.Table
    stages: tuple[str, ...]
    base: str
    progress: ScreenProgress | None


def read(folder: str) -> Screening:
    """What lies there. NotFound if it is no result folder; InvalidInput if it is damaged or outside the roots."""
    out = Path(folder).expanduser()
    admit(out)
    described = table.read_description(out)
    settings, progress = _json(out / SETTINGS), _json(out / PROGRESS)
    store = Store(out)
    stats = [(path.name, *_stat(path)) for path in (out / table.SUSPECTS, *store.parts())]
    key = content_key(str(out), *stats)
    found = resources.shelf("screenings", KEPT).get(key, lambda: table.assemble(described, store))
    return Screening(out, found, described.stages, str(settings.get("base", "")), _running(progress, found, described))


def _running(values: dict, read: table.Table, described: table.Description) -> ScreenProgress | None:
    """What is being done, as far as it is known: some row is still waiting."""
    if not any((read[stage] == table.WAITING).any() for stage in described.stages):
        return None
    try:
        return ScreenProgress(**values)
    except TypeError:
        return ScreenProgress(described.stages[0], 0, len(read))


def _json(path: Path) -> dict:
    """A small file's object; empty if it is not there or none."""
    try:
        with open_regular(path, "") as file:
            values = json.loads(file.read()) if file.size <= MAX_JSON else None
    except (NotFound, OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _stat(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise InvalidInput(f"{printable(path.name)} cannot be read ({error.strerror}).") from error
    return found.st_size, found.st_mtime_ns
