"""The helper process that `child` starts: it has one thread, imports what the work needs, and forks for each piece.

A process with threads must not be forked; the dashboard has many. This one has none, and none of the owner's secrets:
it is begun as a program of its own, with few variables. It obeys lines of JSON on a socket, one answer each:

    {"start": "module:function", "memory": bytes, "seconds": s, "may": see confine}, two pipes, of payloads and results
        → {"pid": n} or {"failed": "why"}
    {"end": pid} → {"status": as of waitpid}
    {"import": "module"} → {} or {"failed": "why"}
"""

import ctypes
import importlib
import io
import json
import os
import select
import signal
import socket
import sys
from contextlib import suppress
from typing import Any

from projlens_core.errors import InvalidInput, NotFound, ProjLensError, Unsupported
from projlens_core.runtime.confine import LINUX, NOTHING, allow, confine
from projlens_core.runtime.framing import HEAD, length, pack, unpack

LINE = 65_536  # bytes of a message, far more than any has
KINDS = {kind.__name__: kind for kind in (InvalidInput, NotFound, Unsupported)}
MEMORY, FOREIGN = "memory", "foreign"
ERROR, SAID = "!error", "!said"  # the names in a message that tells an error: its kind and its words
IDLE = 600  # s after which the helper and what it forked end if nothing is asked: they hold memory
LONGEST = 500  # characters of what a library says
_NO_MEMORY = pack({ERROR: MEMORY, SAID: ""})  # made while there is room for it
_SUBREAPER = 36  # of prctl(2)


def serve(connection: socket.socket) -> None:
    """Obey until the other end is closed, or for a while nothing is asked; then nothing that was started goes on."""
    if LINUX:
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)  # what outlives a piece of work becomes this process' child
    running: set[int] = set()
    connection.settimeout(IDLE)
    while True:
        try:
            line, files, _, _ = socket.recv_fds(connection, LINE, 2)
        except TimeoutError:
            if not running:
                break
            continue
        if not line:
            break
        order = json.loads(line)
        answer = _obeyed(order, files, connection, running)
        for file in files:
            os.close(file)
        connection.sendall(json.dumps(answer).encode() + b"\n")
    for pid in running:
        _end(pid)


def _obeyed(order: dict[str, Any], files: list[int], connection: socket.socket, running: set[int]) -> dict[str, Any]:
    if "end" in order:
        running.discard(order["end"])
        status = _end(order["end"])
        _end_orphans(running)
        return {"status": status}
    try:
        module, _, name = (order["start"] if "start" in order else order["import"]).partition(":")
        imported = importlib.import_module(module)
        if not name:
            return {}
        function = getattr(imported, name)
        pid = os.fork()
    except Exception as error:  # noqa: BLE001 - whatever an import or the system raises is told to who asked
        return {"failed": f"{type(error).__name__}: {error}"[:LONGEST]}
    if pid:
        running.add(pid)
        return {"pid": pid}
    status = 1
    try:
        connection.close()
        _work(function, order, *files)
        status = 0
    finally:
        os._exit(status)  # nothing of the helper's is to run twice


def _work(function: Any, order: dict[str, Any], given: int, result: int) -> None:
    """In the fork: bound; then read a payload, do the work, write what came of it, until there are no more."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    kept = sorted((given, result))
    for begin, end in zip([3, *(file + 1 for file in kept)], [*kept, LINE], strict=True):
        os.closerange(begin, end)
    confine(order["memory"], order.get("may", NOTHING))
    with os.fdopen(given, "rb", buffering=0) as pipe, io.BufferedReader(pipe) as payloads:
        while select.select([pipe], [], [], IDLE)[0] and (head := payloads.read(HEAD)):
            payload = unpack(head + payloads.read(length(head) - HEAD))
            allow(order["seconds"])
            message = _outcome(function, payload)
            while message:
                message = message[os.write(result, message) :]


def _outcome(function: Any, payload: dict[str, Any]) -> bytes:
    from projlens_core.runtime import shortage  # not in the helper, which may need nothing that this brings

    try:
        return pack(function(payload))
    except BaseException as error:  # noqa: BLE001 - a panic and an exit are outcomes like any other
        if isinstance(error, MemoryError) or shortage.of_memory(error):
            return _NO_MEMORY
        if isinstance(error, ProjLensError):
            kind = next((name for name, kind in KINDS.items() if isinstance(error, kind)), InvalidInput.__name__)
            return pack({ERROR: kind, SAID: str(error)})
        said = " ".join(str(error).split())[:LONGEST]
        name = "" if isinstance(error, SystemExit) else type(error).__name__
        return pack({ERROR: FOREIGN, SAID: f"{name}: {said}" if name and said else name})


def _end(pid: int) -> int:
    """Kill the process and all of its group; how it had ended, if it had."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)  # before it has a group of its own
    with suppress(ChildProcessError):
        return os.waitpid(pid, 0)[1]
    return 0


def _end_orphans(running: set[int]) -> None:
    """Kill what ended work left behind in other groups; it has become this process' own child."""
    path = f"/proc/self/task/{os.getpid()}/children"
    while LINUX and os.path.exists(path):
        with open(path, encoding="ascii") as file:
            orphans = {int(pid) for pid in file.read().split()} - running
        if not orphans:
            break
        for pid in orphans:
            _end(pid)


def main() -> None:
    """The helper's program: the number of its end of the socket is its last argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is its parent's to take; the end of that ends this
    serve(socket.socket(fileno=int(sys.argv[-1])))
