"""The process that drives Ray for a screening: reads tasks as lines of JSON, has actors do them, writes the answers.

An actor holds a Handler, as a local worker does: what happens to a suspect, and its limits, are the same. Ray begins an
actor anew that was lost with its node, and gives it its task again.
"""

import json
import os
import sys
import threading
import time
from typing import Any

from projlens_core.errors import ProjLensError

CONNECTS = 45.0  # s after which a cluster that does not answer is not there
LOOK = 5.0  # s between two looks at whether the cluster is still the one that was connected to
HANGS = 60.0  # s after which a look that does not end counts as none


def main(order: dict[str, Any]) -> None:
    """Serve until the input is closed.

    order: address (None: begin a cluster here), workers, gpus, memory, seconds, target; see ray.Cluster.
    """
    import ray  # only here: an extra

    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what Ray prints is not an answer
    connecting = threading.Timer(CONNECTS, _give_up)
    connecting.daemon = True
    connecting.start()
    ray.init(
        address=order["address"] or "local",  # without: one of its own, whatever else runs here
        num_cpus=None if order["address"] else order["workers"],
        include_dashboard=False if order["address"] is None else None,
        log_to_driver=False,
        namespace="projlens",
    )
    connecting.cancel()
    threading.Thread(target=_watch, args=(ray,), daemon=True).start()
    worker: Any = ray.remote(num_cpus=1, num_gpus=order["gpus"], max_restarts=-1, max_task_retries=-1)(Worker)
    free: list[Any] = [worker.remote(order) for _ in range(order["workers"])]
    busy: dict[Any, Any] = {}  # answer to come → actor
    lines = _Lines()
    answers.write(json.dumps({"reached": True}) + "\n")
    while True:
        while free and (line := lines.next(wait=not busy)) is not None:
            actor = free.pop()
            busy[actor.do.remote(json.loads(line))] = actor
        if not busy and lines.ended:
            break
        for ready in ray.wait(list(busy), timeout=0.05 if free and not lines.ended else 5.0)[0]:
            free.append(busy.pop(ready))
            answers.write(json.dumps(ray.get(ready)) + "\n")
    ray.shutdown()


def _give_up() -> None:
    """End this process, and say so to who began it."""
    sys.stderr.write(f"no answer after {CONNECTS:.0f} s\n")
    sys.stderr.flush()
    os._exit(1)


def _watch(ray: Any) -> None:
    """End this process once its node is none of the cluster any more: Ray itself would wait for its head for ever."""
    node = ray.get_runtime_context().get_node_id()
    there = True
    while there:
        time.sleep(LOOK)
        hanging = threading.Timer(HANGS, os._exit, (1,))
        hanging.daemon = True
        hanging.start()
        try:
            there = any(each["NodeID"] == node and each["Alive"] for each in ray.nodes())
        except Exception:  # noqa: BLE001 - whatever Ray raises, the cluster is not there
            there = False
        hanging.cancel()
    os._exit(1)


class Worker:
    """An actor: one Handler for all its tasks."""

    def __init__(self, order: dict[str, Any]):
        from projlens_core.screen.handler import Handler, Limits

        self._handler = Handler(Limits(order["memory"], order["seconds"]), order["target"])
        self._target = order["target"]
        self._prepared: set[str] = set()

    def do(self, given: dict[str, Any]) -> dict[str, Any]:
        """The row of a task as {"row": …}, or {"other": sentence} if none can be done here."""
        from dataclasses import asdict

        from projlens_core.runtime import child
        from projlens_core.screen.task import ScreenTask

        task = ScreenTask(**given["task"])
        if task.module not in self._prepared:
            child.prepare(self._target.partition(":")[0], task.module)
            self._prepared.add(task.module)
        os.environ.update(given["environment"])
        try:
            return {"row": asdict(self._handler.row(task))}
        except ProjLensError as error:
            return {"other": str(error)}


class _Lines:
    """Lines of standard input, read by a thread, so that answers need not wait for tasks."""

    def __init__(self) -> None:
        self._there = threading.Condition()
        self._lines: list[str] = []
        self.ended = False
        threading.Thread(target=self._read, daemon=True).start()

    def next(self, *, wait: bool) -> str | None:
        """The next line; None if there is none yet, or, having waited, if there will be none."""
        with self._there:
            while wait and not self._lines and not self.ended:
                self._there.wait()
            return self._lines.pop(0) if self._lines else None

    def _read(self) -> None:
        for line in sys.stdin:
            with self._there:
                self._lines.append(line)
                self._there.notify()
        with self._there:
            self.ended = True
            self._there.notify()
