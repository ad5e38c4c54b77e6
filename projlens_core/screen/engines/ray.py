"""Workers on a Ray cluster.

Ray itself is driven by a process of its own (`driver`), which is begun again where it ends: a driver does not outlive
its cluster's head, a screening does.
"""

import importlib.util
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict

from projlens_core.errors import InvalidInput, Shortage
from projlens_core.runtime.required import required
from projlens_core.runtime.text import printable
from projlens_core.screen.handler import TARGET, Limits, OtherCode
from projlens_core.screen.task import ScreenTask, TaskResult, passed_on

HELD = 2  # tasks for each worker that are on their way at most
PATIENCE = 600.0  # s without any answer of a cluster after which it is given up
PAUSE = 2.0  # s between two attempts at a cluster that is not there
_LOST = "The Ray cluster {} cannot be reached ({}); start it, and give the same command again."
_REFUSED = "InvalidAuthToken"  # what Ray says where a cluster asks for a token
_TOKEN = "it asks for a token; set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH where its file is elsewhere"


class Cluster:
    """So many workers on the Ray cluster at `address`; without one, on a cluster of this machine alone, begun for this.

    gpus: the share of a graphics card that each worker takes. InvalidInput if Ray is not installed.
    """

    def __init__(
        self,
        workers: int,
        limits: Limits,
        address: str | None = None,
        gpus: float = 0.0,
        target: str = TARGET,
        patience: float = PATIENCE,
    ):
        if importlib.util.find_spec("ray") is None:
            raise InvalidInput(
                "Ray is not installed here; install ProjLens with its extra: pip install projlens[screen]."
            )
        self.workers, self._patience = workers, patience
        self._order = {
            "address": address,
            "workers": workers,
            "gpus": gpus,
            "memory": limits.memory,
            "seconds": limits.seconds,
            "target": target,
        }
        self._driver: _Driver | None = None
        self._reached = False  # whether the cluster was ever there

    def rows(self, tasks: Iterable[ScreenTask]) -> Iterator[TaskResult]:
        """See Engine; OtherCode as the workers raise it, Shortage if the cluster does not come back."""
        left: dict[str, ScreenTask] = {}
        try:
            for task in tasks:
                left[task.key] = task
                self._begun().send(task)
                if len(left) == HELD * self.workers:
                    yield self._row(left)
            while left:
                yield self._row(left)
        finally:
            if left:
                self.close()

    def _begun(self) -> "_Driver":
        if self._driver is None:
            self._driver = _Driver(self._order)
        return self._driver

    def _row(self, left: dict[str, ScreenTask]) -> TaskResult:
        """The next row that is ready; a driver that ended is begun again with all that is left."""
        deadline = time.monotonic() + self._patience
        while True:
            driver = self._begun()
            answer = driver.answer(max(0.0, deadline - time.monotonic()))
            if answer is None:
                reason = driver.reason()
                self.close()
                if not self._reached or time.monotonic() + PAUSE > deadline:
                    address = str(self._order["address"] or "of this machine")
                    raise Shortage(_LOST.format(printable(address), reason))
                time.sleep(PAUSE)
                for task in left.values():
                    self._begun().send(task)
                continue
            if "reached" in answer:
                self._reached = True
                continue
            if "other" in answer:
                raise OtherCode(str(answer["other"]))
            row = TaskResult(**answer["row"])
            if left.pop(row.key, None) is not None:  # else one that was given twice
                return row

    def close(self) -> None:
        """See Engine."""
        if self._driver is not None:
            self._driver.end()
            self._driver = None


class _Driver:
    """The process that drives Ray: tasks as lines of JSON to it, answers as lines from it."""

    def __init__(self, order: dict):
        search = [os.path.abspath(folder or os.curdir) for folder in sys.path]
        begin = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
        begin += "from projlens_core.screen.engines.driver import main; main(json.loads(sys.argv[2]))"
        self._process = subprocess.Popen(
            [sys.executable, "-c", begin, json.dumps(search), json.dumps(order)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(search), "RAY_USAGE_STATS_ENABLED": "0"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is its parent's to take
        )
        self._answers: queue.SimpleQueue[dict | None] = queue.SimpleQueue()
        self._said: list[str] = []
        for work in (self._listen, self._note):
            threading.Thread(target=work, daemon=True).start()

    def send(self, task: ScreenTask) -> None:
        """Give it a task; one that has ended is found out by `answer`."""
        with suppress(OSError, ValueError):
            required(self._process.stdin, "its pipe").write(
                json.dumps({"task": asdict(task), "environment": passed_on()}) + "\n"
            )
            required(self._process.stdin, "its pipe").flush()

    def answer(self, patience: float) -> dict | None:
        """The next answer; None if it has ended, or says nothing for so many seconds."""
        try:
            return self._answers.get(timeout=patience)
        except queue.Empty:
            return None

    def reason(self) -> str:
        """The last that it said, for a sentence."""
        if any(_REFUSED in line for line in self._said):
            return _TOKEN
        return printable(self._said[-1][:200]) if self._said else "no reason is given"

    def end(self) -> None:
        """End it, and what it began on this machine: it does so itself once its input is closed."""
        with suppress(OSError):
            required(self._process.stdin, "its pipe").close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _listen(self) -> None:
        with suppress(ValueError):
            for line in required(self._process.stdout, "its pipe"):
                self._answers.put(json.loads(line))
        self._answers.put(None)

    def _note(self) -> None:
        with suppress(ValueError):
            for line in required(self._process.stderr, "its pipe"):
                if line.strip():
                    self._said[:] = [*self._said[-5:], line.strip()]
