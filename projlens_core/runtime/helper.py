"""The helper of a process that runs work in child processes (`child`): one, begun when it is first needed.

It is a program of its own (`forker`), since a process with threads must not be forked, and holds none of the owner's
variables.
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

from projlens_core.errors import Shortage
from projlens_core.runtime import framing
from projlens_core.runtime.forker import LINE

_PASSED_ON = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "LD_LIBRARY_PATH", "SYSTEMROOT", "PROJLENS_CACHE")
_SET = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
_SET |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HOME": os.devnull}
_SET |= {"TRANSFORMERS_VERBOSITY": "error", "PYTHONDONTWRITEBYTECODE": "1"}
GRACE = 0.5  # s
MIB = 2**20
_NO_HELPER = (
    "The process that reads strangers' files was ended from outside, as happens where memory runs out, or cannot be "
    "started; close other programs and try again."
)
_BEGIN = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from projlens_core.runtime.forker import main; main()"
)


class Running:
    """A forked process and the two pipes to it; order is the helper's, see `forker`."""

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

    def gone(self) -> bool:
        """Whether it has ended since it was asked last: for want of work, or from outside."""
        poll = select.poll()
        poll.register(self._reading, select.POLLIN)
        return bool(poll.poll(0))

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

    def kill(self) -> None:
        """Kill it; `end` is still to be called."""
        for kill in (os.killpg, os.kill):  # the second before it has a group of its own
            with suppress(ProcessLookupError, PermissionError):
                kill(self._pid, signal.SIGKILL)

    def end(self) -> int:
        """Its status, and nothing of it remains; a fork of its owner only lets go of it."""
        os.close(self._reading)
        os.close(self._writing)
        return self._helper.end(self._pid) if self._owner == os.getpid() else 0


class Helper:
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
        if self._process.poll() is None:  # else the number may be another's by now
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
            try:
                with suppress(subprocess.TimeoutExpired):  # it imports something; what it forked ends with it
                    self._process.wait(GRACE)
            finally:
                if self._process.poll() is None:
                    self._process.kill()
                    self._process.wait()


def turns() -> threading.BoundedSemaphore:
    """What lets so many pieces of work go on at a time, since each may take memory."""
    return _turns


def _new_turns() -> threading.BoundedSemaphore:
    return threading.BoundedSemaphore(max(2, os.cpu_count() or 1))


_turns = _new_turns()
_helper: list[Helper] = []  # at most one, begun when it is first needed
_beginning = threading.Lock()


def _started(order: dict[str, Any], files: list[int]) -> tuple[Helper, int]:
    """The helper and the process in which the work is now done."""
    for _ in range(2):  # a helper that was ended since the last work is begun anew
        helper = None
        try:
            helper = present()
            answer = helper.order(order, files)
        except (OSError, ValueError):
            _drop(helper)
            continue
        if "failed" in answer:
            raise RuntimeError(f"{order['start']} cannot be run in a child: {answer['failed']}")  # a defect of ours
        return helper, answer["pid"]
    raise Shortage(_NO_HELPER)


def present() -> Helper:
    """The helper, begun if there is none; OSError if it cannot be."""
    with _beginning:
        if not _helper:
            _helper.append(Helper())
        return _helper[0]


def _drop(helper: Helper | None) -> None:
    with _beginning:
        if helper in _helper:
            _helper.remove(helper)
            helper.close()


def _forget() -> None:
    """In a fork of this process, which has no helper of its own yet."""
    global _turns, _beginning
    _turns, _beginning = _new_turns(), threading.Lock()  # which other threads may have held
    close_all()
    _helper.clear()


def close_all() -> None:
    """End the helper, if there is one, and all that it forked."""
    for helper in _helper:
        helper.close()


def _at_exit() -> None:
    with suppress(KeyboardInterrupt):  # all is done by now: nobody need hear of an interrupt
        close_all()


os.register_at_fork(after_in_child=_forget)
atexit.register(_at_exit)
