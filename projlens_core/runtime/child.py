"""Work on a stranger's data in a process of its own, bounded, whose end of any kind is one sentence.

A tokenizer's tables, a template, a chart can block, fill the memory, or end the process that reads them: libraries in
native code do not always raise. So they are read here first, in a process that has a bound of memory, time and output,
no standard input, no network, none of the owner's variables, and that can be killed with all that it started. What
comes back is JSON and bytes, never a pickle.

The process is forked from a helper (`forker`) that has imported what the work needs, which costs milliseconds.
"""

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from projlens_core.errors import InvalidInput, Shortage
from projlens_core.runtime import framing
from projlens_core.runtime.forker import ERROR, KINDS, LINE, MEMORY, SAID
from projlens_core.runtime.text import printable

MIB = 2**20
PATIENCE = 4  # times the processor time is how long the work may last on a machine that is busy otherwise
ADVICE = "fetch it again, or take one whose maker you trust"
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "LD_LIBRARY_PATH", "SYSTEMROOT", "PROJLENS_CACHE")
_SET = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
_SET |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HOME": os.devnull}
_SET |= {"TRANSFORMERS_VERBOSITY": "error", "PYTHONDONTWRITEBYTECODE": "1"}
_NO_HELPER = (
    "The process that reads strangers' files was ended from outside, as happens where memory runs out, or cannot be "
    "started; close other programs and try again."
)
_BEGIN = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from projlens_core.runtime.forker import main; main()"
)


def run_in_child(
    target: str, payload: dict[str, Any], *, what: str, memory: int, seconds: float, output: int
) -> dict[str, Any]:
    """What the function called `target` ("package.module:function", one of ours) returns for the payload.

    payload and result: dictionaries of JSON values, and bytes as values at the top. what: the stranger's thing as a
    sentence begins with it ("The tokenizer of X"). memory: bytes that the work may take. seconds: of processor time;
    `PATIENCE` times as many may pass. output: bytes of the result.

    Raises an error of ProjLens as the function raised it, with its own message, and InvalidInput, in one sentence, for
    every other end: another exception, a crash, a limit, an exit. Shortage if this machine cannot start processes.
    """
    with Child(target, what=what, memory=memory, seconds=seconds, output=output) as child:
        return child.ask(payload)


class Child:
    """The same for several payloads, one after the other, of which `seconds` and `output` bound each.

    The function may keep what it has made for the next one. A child that was ended is begun anew by the next.
    """

    def __init__(self, target: str, *, what: str, memory: int, seconds: float, output: int):
        self.what, self.memory, self.seconds, self.output = what, memory, seconds, output
        self._order = {"start": target, "memory": memory, "seconds": seconds}
        self._running: _Running | None = None
        self._asking = threading.Lock()

    def ask(self, payload: dict[str, Any]) -> dict[str, Any]:
        """What the function returns; errors as of run_in_child."""
        with self._asking, _turns:
            self._running = self._running or _Running(self._order)
            message = None
            try:
                deadline = time.monotonic() + PATIENCE * self.seconds
                message, end = self._running.exchange(framing.pack(payload), deadline, self.output)
            finally:
                status = self._end() if message is None else 0
        if message is None:
            raise InvalidInput(
                f"{self.what} {_sentence(end, status, self.memory, self.seconds, self.output)}; {ADVICE}."
            )
        return _result(message, self.what, self.memory)

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
            _present().order({"import": module})


class _Running:
    """A forked process and the two pipes to it."""

    def __init__(self, order: dict[str, Any]):
        given, self._writing = os.pipe()
        self._reading, result = os.pipe()
        self._owner = os.getpid()
        try:
            self._helper, self._pid = _started(order, [given, result])
        except BaseException:
            os.close(self._reading)
            os.close(self._writing)
            raise
        finally:
            os.close(given)
            os.close(result)
        os.set_blocking(self._writing, False)

    def exchange(self, message: bytes, deadline: float, output: int) -> tuple[bytes | None, str]:
        """The answer and "", or None and why there is none: "late", "long" or "ended"."""
        left, data = memoryview(message), bytearray()
        poll = select.poll()
        poll.register(self._reading, select.POLLIN)
        poll.register(self._writing, select.POLLOUT)
        while (patience := deadline - time.monotonic()) > 0:
            for file, event in poll.poll(1000 * patience):
                if file == self._writing:
                    left = left[self._written(left) :]
                    if not left or event & select.POLLERR:  # it need not read all before it answers, or ends
                        poll.unregister(file)
                    continue
                data += (part := os.read(self._reading, MIB))
                if not part:
                    return None, "ended"
                whole = framing.length(data) if len(data) >= framing.HEAD else 0
                if max(whole, len(data)) > output:
                    return None, "long"
                if whole and len(data) >= whole:
                    return bytes(data[:whole]), ""
        return None, "late"

    def _written(self, data: memoryview) -> int:
        try:
            return os.write(self._writing, data)
        except (BlockingIOError, BrokenPipeError):
            return 0

    def end(self) -> int:
        """Its status, and nothing of it remains; a fork of its owner only lets go of it."""
        os.close(self._reading)
        os.close(self._writing)
        return self._helper.end(self._pid) if self._owner == os.getpid() else 0


def _sentence(end: str, status: int, memory: int, seconds: float, output: int) -> str:
    """How it ended, to follow its name."""
    signalled = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if end == "late" or signalled in (signal.SIGPROF, signal.SIGXCPU):
        return f"is not read after {seconds:g} s, longer than any sound one takes, and was stopped"
    if end == "long":
        return f"grows to more than {output / MIB:.3g} MB when it is read, more than any sound one, and was stopped"
    if signalled and signalled != signal.SIGKILL:  # which is how it is ended here, too
        name = signal.Signals(signalled).name if signalled in signal.valid_signals() else f"signal {signalled}"
        return f"ends the program that reads it ({name}), as damaged or malicious files do, so it was not used"
    return "ends the program that reads it without a result, as damaged or malicious files do, so it was not used"


def _result(message: bytes, what: str, memory: int) -> dict[str, Any]:
    """The dictionary; nothing in it is believed to be what the function was to return."""
    try:
        result = framing.unpack(message)
    except ValueError as error:
        raise InvalidInput(f"{what} makes the program that reads it answer nonsense; {ADVICE}.") from error
    if ERROR not in result:
        return result
    kind, said = result[ERROR], str(result.get(SAID))
    if kind == MEMORY:
        raise InvalidInput(
            f"{what} needs more than {memory / MIB:,.0f} MB of memory to be read, more than any sound one, and was "
            f"stopped; {ADVICE}."
        )
    if kind in KINDS:
        raise KINDS[kind](printable(said))
    reason = printable(said) if said else "it tries to end the program that reads it"
    raise InvalidInput(f"{what} cannot be read: {reason}")


class _Helper:
    """The parent's end of the helper: one order at a time."""

    def __init__(self) -> None:
        own, other = socket.socketpair()
        passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        search = [os.path.abspath(folder) for folder in sys.path]
        arguments = [json.dumps(search), str(other.fileno())]
        with other:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", _BEGIN, *arguments],
                env=passed_on | _SET,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[other.fileno()],
                start_new_session=True,
            )
        self._socket, self._orders, self.owner = own, threading.Lock(), os.getpid()

    def order(self, order: dict[str, Any], files: Sequence[int] = ()) -> dict[str, Any]:
        """The helper's answer; OSError or ValueError if it is no more."""
        with self._orders:
            try:
                socket.send_fds(self._socket, [json.dumps(order).encode()], list(files))
                line = b""
                while not line.endswith(b"\n"):
                    line += (part := self._socket.recv(LINE))
                    if not part:
                        raise ConnectionResetError("the helper has ended")
                return json.loads(line)
            except BaseException:  # Ctrl-C, too: whose answer comes next is then uncertain
                self._socket.close()
                raise

    def end(self, pid: int) -> int:
        """End the work and all that it started; its status, or a kill's where the helper is no more."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)  # at once: the helper may be importing something for another thread
        try:
            return self.order({"end": pid})["status"]
        except (OSError, ValueError) as error:
            raise Shortage(_NO_HELPER) from error

    def close(self) -> None:
        """Let it end, and all that it forked."""
        self._socket.close()
        if self.owner == os.getpid():
            self._process.wait()


def _new_turns() -> threading.BoundedSemaphore:
    """Pieces of work at a time: each may take memory."""
    return threading.BoundedSemaphore(max(2, os.cpu_count() or 1))


_turns = _new_turns()
_helper: list[_Helper] = []  # at most one, begun when it is first needed
_beginning = threading.Lock()


def _started(order: dict[str, Any], files: list[int]) -> tuple[_Helper, int]:
    """The helper and the process in which the work is now done."""
    for _ in range(2):  # a helper that was ended since the last work is begun anew
        helper = None
        try:
            helper = _present()
            answer = helper.order(order, files)
        except (OSError, ValueError):
            _drop(helper)
            continue
        if "failed" in answer:
            raise RuntimeError(f"{order['start']} cannot be run in a child: {answer['failed']}")  # a defect of ours
        return helper, answer["pid"]
    raise Shortage(_NO_HELPER)


def _present() -> _Helper:
    with _beginning:
        if not _helper:
            _helper.append(_Helper())
        return _helper[0]


def _drop(helper: _Helper | None) -> None:
    with _beginning:
        if helper in _helper:
            _helper.remove(helper)
            helper.close()


def _forget() -> None:
    """In a fork of this process, which has no helper of its own yet."""
    global _turns, _beginning
    _turns, _beginning = _new_turns(), threading.Lock()  # which other threads may have held
    _close_all()
    _helper.clear()


def _close_all() -> None:
    for helper in _helper:
        helper.close()


os.register_at_fork(after_in_child=_forget)
atexit.register(_close_all)
