"""Workers of this machine: a thread each, which has a confined process do its tasks."""

import os
import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress

from projlens_core.errors import ProjLensError
from projlens_core.runtime import child
from projlens_core.screen.handler import TARGET, Handler, Limits
from projlens_core.screen.task import ScreenTask, TaskResult

MOST = max(2, os.cpu_count() or 1)  # processes that runtime.helper lets work at a time
HELD = 2  # tasks and rows for each worker that are on their way at most
_PATIENCE = 0.2  # s, after which a worker is told again to stop


class Local:
    """So many workers on this machine; more than there are cores are not begun."""

    def __init__(self, workers: int, limits: Limits, target: str = TARGET):
        self.workers = min(workers, MOST)
        self._limits, self._target = limits, target

    def rows(self, tasks: Iterable[ScreenTask]) -> Iterator[TaskResult]:
        """See Engine. What a worker cannot do at all (OtherCode, Shortage) is raised here."""
        crew: _Crew | None = None
        try:
            for task in tasks:
                crew = crew or _Crew(self.workers, self._limits, self._target, task.module)
                crew.left += 1
                crew.waiting.put(task)
                if crew.left == HELD * self.workers:
                    yield crew.row()
            while crew is not None and crew.left:
                yield crew.row()
        finally:
            if crew is not None:
                crew.dismiss()

    def close(self) -> None:
        """See Engine: each call of `rows` ends what it started."""


class _Crew:
    """Workers that are begun, their threads, and the tasks that are left: given and not answered."""

    def __init__(self, workers: int, limits: Limits, target: str, module: str):
        child.prepare(target.partition(":")[0], module)
        self.left = 0
        self.waiting: queue.SimpleQueue[ScreenTask | None] = queue.SimpleQueue()
        self._found: queue.SimpleQueue[TaskResult | Exception] = queue.SimpleQueue()
        self._handlers = [Handler(limits, target) for _ in range(workers)]
        self._threads = [threading.Thread(target=self._work, args=(each,), daemon=True) for each in self._handlers]
        for thread in self._threads:
            thread.start()

    def row(self) -> TaskResult:
        """The next row that is ready."""
        found = self._found.get()
        self.left -= 1
        if isinstance(found, Exception):
            raise found
        return found

    def dismiss(self) -> None:
        """End all of it, whatever is being done."""
        with suppress(queue.Empty):
            while True:
                self.waiting.get_nowait()
        for _ in self._threads:
            self.waiting.put(None)
        for handler, thread in zip(self._handlers, self._threads, strict=True):
            while self.left and thread.is_alive():
                handler.cancel()
                thread.join(_PATIENCE)
            thread.join()
            with suppress(ProjLensError):
                handler.close()

    def _work(self, handler: Handler) -> None:
        while (task := self.waiting.get()) is not None:
            try:
                self._found.put(handler.row(task))
            except Exception as error:  # noqa: BLE001 - raised in the thread that waits for it
                self._found.put(error)
