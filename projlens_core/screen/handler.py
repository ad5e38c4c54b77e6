"""One worker: a confined process that takes one task after the other, is bounded, killed and begun anew.

Local threads and Ray's actors each have one; what happens to a suspect is the same in both.
"""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from projlens_core.errors import Cancelled, InvalidInput, ProjLensError, Shortage
from projlens_core.runtime.child import Child, Stopped
from projlens_core.runtime.confine import ANYTHING, CONNECT, NOTHING
from projlens_core.runtime.text import printable
from projlens_core.screen.base_bytes import shared
from projlens_core.screen.task import FAILED, STOPPED, ScreenTask, TaskResult

TARGET = "projlens_core.screen.work:perform"
CRASHES, KILLS = 2, 10  # of its process that a task survives: it may be killed for no fault of the suspect
PAUSE = 0.1  # s, before the second attempt after a kill; each further waits as much longer
OUTPUT = 32 * 2**20  # bytes of one result


class OtherCode(ProjLensError):
    """A worker cannot do the tasks that it is given, none of them: another version, another base."""


@dataclass(frozen=True)
class Limits:
    """Of one suspect in one stage. memory: bytes beyond those that the worker has when it begins, base and models
    included. seconds: of processor time; runtime.child.PATIENCE times as many may pass.
    """

    memory: int = 4 * 2**30
    seconds: float = 300.0


class Handler:
    """Does tasks, one at a time. Close it, or use it as a context."""

    def __init__(self, limits: Limits = Limits(), target: str = TARGET):
        self._limits = limits
        self._ranges: dict[str, Path | None] = {}  # of each base: what workers of this machine share of it
        begun = partial(Child, target, what="", memory=limits.memory, seconds=limits.seconds, output=OUTPUT)
        self._children = {
            may: begun(may=may) for may in (NOTHING, CONNECT, ANYTHING)
        }  # each begins with its first task
        self._child, self._cancelled = self._children[NOTHING], False

    def row(self, task: ScreenTask) -> TaskResult:
        """What came of the task, whatever its suspect did; OtherCode if no task can be done here, and Shortage if this
        machine starts no processes.
        """
        began = time.monotonic()
        status, sentence, scores, result = self._outcome(task)
        return TaskResult(
            task.key, task.stage, task.suspect, status, sentence, scores, result, round(time.monotonic() - began, 4)
        )

    def _outcome(self, task: ScreenTask) -> tuple[str, str, str, str]:
        self._child = self._children[task.may]
        self._child.what = printable(task.suspect)[-200:]
        payload = task.payload() | {"ranges": self._shared(task)}
        crashes = kills = 0
        while not self._cancelled:
            time.sleep(PAUSE * kills)
            try:
                said = self._child.ask(payload)
            except Stopped as error:
                crashes, kills = crashes + (error.how == "ended"), kills + (error.how == "killed")
                if error.how in ("ended", "killed") and crashes <= CRASHES and kills <= KILLS:
                    continue
                return STOPPED, str(error), "{}", "{}"
            except Shortage:  # what starts the processes was killed, too
                kills += 1
                if kills > KILLS:
                    raise
                continue
            except InvalidInput as error:
                return FAILED, str(error), "{}", "{}"
            if "other" in said:
                raise OtherCode(str(said["other"]))
            status, sentence, scores, result = (str(said.get(n)) for n in ("status", "sentence", "scores", "result"))
            return status, sentence, scores, result
        raise Cancelled("The screening was stopped; what was finished is kept.")

    def _shared(self, task: ScreenTask) -> str | None:
        """Where the base's bytes lie on this machine; it is fetched once, and not asked for again if that fails."""
        if task.base not in self._ranges:
            self._ranges[task.base] = shared(task, self._limits.memory, self._limits.seconds, lambda: self._cancelled)
        found = self._ranges[task.base]
        return None if found is None else str(found)

    def cancel(self) -> None:
        """Give up the task that is being done, from another thread; `row` there raises Cancelled, soon, or ends."""
        self._cancelled = True
        self._child.interrupt()

    def close(self) -> None:
        """End its processes."""
        for child in self._children.values():
            child.close()

    def __enter__(self) -> "Handler":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
