"""What was found, as it comes: Parquet part files in the result folder, each whole or not there at all.

A part holds the rows of one batch and is named by its content. A row is found by its task's key; the same task done
twice has the same row, and counts once.
"""

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from projlens_core.errors import InvalidInput
from projlens_core.runtime.atomic import write_atomically
from projlens_core.screen.task import TaskResult

PARTS, ENDING = "parts", ".parquet"
MAX_PART = 2**30  # bytes of one part file that is read
ADVICE = "make room there, and give the same command again: it goes on from what was kept"
_SCHEMA = pa.schema([(each.name, pa.float64() if each.type is float else pa.string()) for each in fields(TaskResult)])


class Store:
    """The rows in one result folder."""

    def __init__(self, folder: Path):
        self.folder = folder / PARTS

    def add(self, rows: Sequence[TaskResult]) -> None:
        """Keep the rows, all of one stage; InvalidInput if the disk takes none of them."""
        if not rows:
            return
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist([asdict(row) for row in rows], _SCHEMA), buffer, compression="zstd")
        data = buffer.getvalue()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInput(f"{self.folder} cannot be made ({error.strerror}); {ADVICE}.") from error
        name = f"{rows[0].stage}-{hashlib.sha256(data).hexdigest()[:16]}{ENDING}"
        write_atomically(self.folder / name, data, ADVICE)

    def parts(self, stage: str | None = None) -> list[Path]:
        """The part files, of one stage or of all, by name."""
        return sorted(self.folder.glob(f"{stage or '*'}-*{ENDING}")) if self.folder.is_dir() else []

    def rows(self, stage: str | None = None, columns: Sequence[str] | None = None) -> Iterator[dict]:
        """The rows with these columns, each key once; parts that are damaged are passed over, so that they are made
        anew.
        """
        wanted = list(columns or _SCHEMA.names)
        seen: set[str] = set()
        for part in self.parts(stage):
            for row in read_part(part, tuple(dict.fromkeys((*wanted, "key", "stage")))):
                if row["key"] not in seen and stage in (None, row["stage"]):
                    seen.add(row["key"])
                    yield {name: row[name] for name in wanted}

    def keys(self, stage: str, statuses: Iterable[str]) -> set[str]:
        """Keys of the tasks of a stage that ended in one of the statuses."""
        wanted = set(statuses)
        return {row["key"] for row in self.rows(stage, ("key", "status")) if row["status"] in wanted}


def read_part(path: Path, columns: tuple[str, ...]) -> list[dict]:
    """The rows of a part file; none if it is not one."""
    try:
        if path.stat().st_size > MAX_PART:
            return []
        return pq.read_table(path, columns=list(columns), schema=_SCHEMA, memory_map=False).to_pylist()
    except (OSError, ValueError, KeyError, pa.ArrowException):
        return []
