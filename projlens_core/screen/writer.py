"""Rows on their way into the store, some at a time; a disk that is full for a while loses none of them."""

import time
from contextlib import suppress
from types import TracebackType

from projlens_core.errors import ProjLensError
from projlens_core.screen.store import Store
from projlens_core.screen.task import TaskResult

BATCH = 256  # rows of a part file
EVERY = 2.0  # s, after which fewer are written, so that who watches sees them, and a crash loses no more
MOST = 16 * BATCH  # rows that a full disk may keep waiting in memory
AGAIN, PAUSE = 20, 0.5  # how often, and after how many s each, the disk is tried before it is given up


class Writer:
    """Takes rows one by one; at the end of the block all are kept. InvalidInput if the disk does not take them.

    While it waits for the disk it takes no rows, so that no more work is begun.
    """

    def __init__(self, store: Store):
        self._store, self._last = store, time.monotonic()
        self._rows: list[TaskResult] = []

    def add(self, row: TaskResult) -> None:
        """Keep the row, now or with those that follow."""
        self._rows.append(row)
        if len(self._rows) >= BATCH or time.monotonic() - self._last > EVERY:
            self._last = time.monotonic()
            self._write(1 if len(self._rows) < MOST else AGAIN)

    def _write(self, attempts: int) -> None:
        """Write what there is. After one failed attempt it may wait; after more the disk is given up."""
        for attempt in range(attempts):
            try:
                self._store.add(self._rows)
            except ProjLensError:
                if attempts > 1 and attempt == attempts - 1:
                    raise
                if attempts > 1:
                    time.sleep(PAUSE)
            else:
                self._rows = []
                return

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is None and self._rows:
            self._write(AGAIN)
        elif self._rows:
            with suppress(ProjLensError):  # what went wrong first is what is told
                self._write(2)
