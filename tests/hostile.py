"""What a stranger's file may do to the process that reads it, as functions to be run in a child."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any

from projlens_core.errors import NotFound, Unsupported

Values = dict[str, Any]


class PanicException(BaseException):
    """As a Rust library's is named, which is no Exception either."""


def echo(values: Values) -> Values:
    return values


def process(values: Values) -> Values:
    """Who works here."""
    return {"pid": os.getpid(), "group": os.getpgid(0), "threads": threading.active_count(), "helper": os.getppid()}


def surroundings(values: Values) -> Values:
    """What it can see of its owner."""
    files = sorted(int(name) for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}"))
    return {"variables": dict(os.environ), "files": files, "input": sys.stdin.read(), "in": os.read(0, 10).decode()}


_counted: list[int] = []


def counts(values: Values) -> Values:
    """How often it was asked; it ends at "aborts"."""
    if values.get("aborts"):
        os.abort()
    if values.get("fails"):
        raise KeyError("x")
    _counted.append(1)
    return {"count": len(_counted), "length": len(values.get("text", "")), "pid": os.getpid()}


def works(values: Values) -> Values:
    """Takes so much processor time."""
    end = time.process_time() + values["seconds"]
    while time.process_time() < end:
        pass
    return {}


def not_json(values: Values) -> Values:
    return {"set": {1, 2}}


def nothing(values: Values) -> None:
    return None


def aborts(values: Values) -> Values:
    os.abort()


def reads_null(values: Values) -> Values:
    return {"text": ctypes.string_at(0).decode()}


def loops(values: Values) -> Values:
    while True:
        pass


def sleeps(values: Values) -> Values:
    time.sleep(600)
    return {}


def ignores_signals(values: Values) -> Values:
    for number in {signal.SIGTERM, signal.SIGINT, signal.SIGPROF, signal.SIGXCPU, signal.SIGALRM}:
        signal.signal(number, signal.SIG_IGN)
    return loops(values)


def stops(values: Values) -> Values:
    os.kill(os.getpid(), signal.SIGSTOP)
    return sleeps(values)


def fills_memory(values: Values) -> Values:
    return {"length": len(bytearray(values.get("bytes", 2**31)))}


def fills_memory_slowly(values: Values) -> Values:
    kept = []
    while True:
        kept.append([0] * 100_000)


def fills_memory_natively(values: Values) -> Values:
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    while room := libc.malloc(ctypes.c_size_t(2**24)):
        ctypes.memset(room, 1, 2**24)
    os.abort()  # as libraries do that are given none


def multiplies_text(values: Values) -> Values:
    return {"text": "x" * 2**40}


def prints_forever(values: Values) -> Values:
    while True:
        os.write(1, b"x" * 65_536)
        os.write(2, b"x" * 65_536)


def answers_long(values: Values) -> Values:
    return {"text": "x" * 3_000_000}


def answers_forever(values: Values) -> Values:
    """To whatever is open."""
    while True:
        for file in range(3, 32):
            try:
                os.write(file, b"\xff" * 65_536)
            except OSError:
                continue


def answers_nonsense(values: Values) -> Values:
    """A whole message that is no JSON, and then no more."""
    for file in range(3, 32):
        try:
            os.write(file, (16).to_bytes(8, "little") + (16).to_bytes(8, "little") + b"\xff" * 16)
        except OSError:
            continue
    return sleeps(values)


def closes_all(values: Values) -> Values:
    os.closerange(0, 256)
    return sleeps(values)


def exits(values: Values) -> Values:
    os._exit(values.get("status", 0))


def leaves(values: Values) -> Values:
    sys.exit("\x1b[31mgood bye")


def interrupts(values: Values) -> Values:
    raise KeyboardInterrupt


def panics(values: Values) -> Values:
    raise PanicException("called `Option::unwrap()` on a `None` value\n\x1b[31m")


def fails(values: Values) -> Values:
    raise KeyError("chat_template")


def fails_without_words(values: Values) -> Values:
    raise ArithmeticError


def finds_nothing(values: Values) -> Values:
    raise NotFound("There is no such template; there are a and b.")


def refuses(values: Values) -> Values:
    raise Unsupported("This is not read.\x1b[31m")


def recurses(values: Values) -> Values:
    return recurses(values)


def recurses_natively(values: Values) -> Values:
    nested: tuple[Any, ...] = ()
    for _ in range(200_000):
        nested = (nested,)
    return {"number": hash(nested)}


def forks(values: Values) -> Values:
    while True:
        os.fork()


def runs_program(values: Values) -> Values:
    return {"said": subprocess.check_output(["/bin/echo", "hello"]).decode()}


def becomes_program(values: Values) -> Values:
    os.execv("/bin/sleep", ["sleep", "600"])


def leaves_grandchild(values: Values) -> Values:
    """In a session of its own, where no signal to the group reaches it."""
    if not os.fork():
        os.setsid()
        while True:
            time.sleep(600)
    return {}


def connects(values: Values) -> Values:
    with socket.create_connection(("127.0.0.1", values["port"]), 1) as connection:
        connection.sendall(b"secret")
    return {}


def asks(values: Values) -> Values:
    return {"said": input("Do you wish to run the custom code? [y/N] ")}


def writes(values: Values) -> Values:
    with open(values["path"], "w") as file:
        file.write("x")
    return {}


def kills_others(values: Values) -> Values:
    os.kill(values["pid"], signal.SIGKILL)
    return {}


def kills_all(values: Values) -> Values:
    os.kill(-1, signal.SIGKILL)
    return {}


def has_threads(values: Values) -> Values:
    """Which libraries need to work at all."""
    said: list[int] = []
    thread = threading.Thread(target=said.append, args=(7,))
    thread.start()
    thread.join()
    return {"said": said}


def connects_only(values: Values) -> Values:
    """Opens a connection, then tries to start a program."""
    with socket.create_connection(("127.0.0.1", values["port"]), timeout=1):
        pass
    try:
        subprocess.run(["true"], check=False)
    except OSError as error:
        return {"connected": True, "started": type(error).__name__}
    return {"connected": True, "started": True}
