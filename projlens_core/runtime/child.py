"""Work on a stranger's data in a process of its own, bounded, whose end of any kind is one sentence.

A tokenizer's tables, a template, a chart can block, fill the memory, or end the process that reads them: libraries in
native code do not always raise. So they are read here first, in a process that has a bound of memory, time and output,
no standard input, no network, none of the owner's variables, and that can be killed with all that it started. What
comes back is JSON and bytes, never a pickle.

The process is forked from a helper (`forker`) that has imported what the work needs, which costs milliseconds.
"""

import os
import signal
import threading
import time
from contextlib import suppress
from typing import Any

from projlens_core.errors import InvalidInput, Shortage
from projlens_core.runtime import framing, helper
from projlens_core.runtime.confine import NOTHING, owners_memory
from projlens_core.runtime.forker import ERROR, KINDS, MEMORY, SAID
from projlens_core.runtime.helper import MIB
from projlens_core.runtime.text import printable

PATIENCE = 4  # times the processor time is how long the work may last on a machine that is busy otherwise
ADVICE = "fetch it again, or take one whose maker you trust"


class Stopped(InvalidInput):
    """The process that reads it did not come to a result. how: "late", "long", "memory", "ended" by a crash or an exit,
    or "killed", as from outside."""

    def __init__(self, sentence: str, how: str):
        super().__init__(sentence)
        self.how = how


def run_in_child(
    target: str, payload: dict[str, Any], *, what: str, memory: int, seconds: float, output: int
) -> dict[str, Any]:
    """What the function called `target` ("package.module:function", one of ours) returns for the payload.

    payload and result: dictionaries of JSON values, and bytes as values at the top. what: the stranger's thing as a
    sentence begins with it ("The tokenizer of X"). memory: bytes that the work may take. seconds: of processor time;
    `PATIENCE` times as many may pass. output: bytes of the result.

    Raises an error of ProjLens as the function raised it, with its own message, and InvalidInput, in one sentence, for
    every other end: another exception, or, as Stopped, a crash, a limit, an exit. Shortage if this machine cannot start
    processes.
    """
    with Child(target, what=what, memory=memory, seconds=seconds, output=output) as child:
        return child.ask(payload)


class Child:
    """The same for several payloads, one after the other, of which `seconds` and `output` bound each.

    The function may keep what it has made for the next one. A child that was ended is begun anew by the next. may: what
    it may do besides, see confine; ANYTHING is for work that starts processes and writes files itself.
    """

    def __init__(self, target: str, *, what: str, memory: int, seconds: float, output: int, may: str = NOTHING):
        self.what, self.memory, self.seconds, self.output = what, memory, seconds, output
        self._order = {"start": target, "memory": memory, "seconds": seconds, "may": may}
        self._running: helper.Running | None = None
        self._asking = threading.Lock()

    def ask(self, payload: dict[str, Any]) -> dict[str, Any]:
        """What the function returns; errors as of run_in_child."""
        with self._asking, helper.turns():
            if self._running is not None and self._running.gone():
                with suppress(Shortage):
                    self._end()
            self._running = self._running or helper.Running(self._order)
            message = None
            try:
                deadline = time.monotonic() + PATIENCE * self.seconds
                message, end = self._running.exchange(framing.pack(payload), deadline, self.output)
            finally:
                status = self._end() if message is None else 0
        if message is None:
            raise Stopped(
                f"{self.what} {_sentence(end, status, self.memory, self.seconds, self.output)}; {ADVICE}.",
                "late"
                if _is_late(end, status)
                else "killed"
                if end == "ended" and _signal(status) == signal.SIGKILL
                else end,
            )
        return _result(message, self.what, self.memory)

    def interrupt(self) -> None:
        """End what it is asked now, from another thread; `ask` there raises Stopped."""
        if (running := self._running) is not None:
            running.kill()

    def close(self) -> None:
        """End it, and all that it started."""
        with self._asking:
            self._end()

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        with suppress(Shortage):
            self._end()

    def _end(self) -> int:
        running, self._running = self._running, None
        return 0 if running is None else running.end()


def prepare(*modules: str) -> None:
    """Begin the helper and import these modules in it, so that the next work in one of them need not wait for that.

    Nothing is raised: what is wrong is told where the work is done.
    """
    for module in modules:
        with suppress(OSError, ValueError):
            helper.present().order({"import": module})


def _sentence(end: str, status: int, memory: int, seconds: float, output: int) -> str:
    """How it ended, to follow its name."""
    signalled = _signal(status)
    if _is_late(end, status):
        return f"is not read after {seconds:g} s, longer than any sound one takes, and was stopped"
    if end == "long":
        return f"grows to more than {output / MIB:.3g} MB when it is read, more than any sound one, and was stopped"
    if signalled and signalled != signal.SIGKILL:  # which is how it is ended here, too
        name = signal.Signals(signalled).name if signalled in signal.valid_signals() else f"signal {signalled}"
        return f"ends the program that reads it ({name}), as damaged or malicious files do, so it was not used"
    return "ends the program that reads it without a result, as damaged or malicious files do, so it was not used"


def _is_late(end: str, status: int) -> bool:
    return end == "late" or _signal(status) in (signal.SIGPROF, signal.SIGXCPU)


def _signal(status: int) -> int:
    """The signal that ended the process, 0 if none did."""
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def _result(message: bytes, what: str, memory: int) -> dict[str, Any]:
    """The dictionary; nothing in it is believed to be what the function was to return."""
    try:
        result = framing.unpack(message)
    except ValueError as error:
        raise InvalidInput(f"{what} makes the program that reads it answer nonsense; {ADVICE}.") from error
    if ERROR not in result:
        return result
    kind, said = result[ERROR], str(result.get(SAID))
    if kind == MEMORY and (most := owners_memory()) <= memory:
        raise Shortage(
            f"{what} cannot be read: this machine lets a process have {most / MIB:,.0f} MB of memory, and reading it "
            f"may take up to {memory / MIB:,.0f}; raise that limit (ulimit -d)."
        )
    if kind == MEMORY:
        raise Stopped(
            f"{what} needs more than {memory / MIB:,.0f} MB of memory to be read, more than any sound one, and was "
            f"stopped; {ADVICE}.",
            "memory",
        )
    if kind in KINDS:
        raise KINDS[kind](printable(said))
    reason = printable(said) if said else "it tries to end the program that reads it"
    raise InvalidInput(f"{what} cannot be read: {reason.rstrip('. ')}; {ADVICE}.")
