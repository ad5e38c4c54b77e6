"""Real processes for faults to happen in, forked from one that has imported what takes seconds.

What a child does is a function of this package that takes a Pipe's end first: it says through it how far it got, and
waits there to be killed or let go on. So no test sleeps, and none is early or late.
"""

import multiprocessing
import os
import resource
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from projlens_core.runtime import cache as disk

PATIENCE = 120  # s; on a busy machine
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.faults.work"])


class Child:
    """A running process and the end of the pipe to it."""

    def __init__(self, process: multiprocessing.process.BaseProcess, end: Connection):
        self.process, self._end = process, end

    def heard(self) -> Any:
        """What the child says next."""
        assert self._end.poll(PATIENCE), "the child says nothing"
        return self._end.recv()

    def go_on(self) -> None:
        """Let a child go on that waits."""
        self._end.send("go on")

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.join(PATIENCE)

    def result(self) -> Any:
        """The last thing the child says, once it has ended by itself."""
        said = self.heard()
        self.process.join(PATIENCE)
        assert self.process.exitcode == 0
        return said


@contextmanager
def child(cache: Path, work: Callable, *args: object) -> Iterator[Child]:
    """A process that does `work(end, *args)` with `cache` as the folder of ProjLens' caches, and says its result."""
    ours, theirs = _context.Pipe()
    process = _context.Process(target=_run, args=(theirs, str(cache), disk._version(), work, args))
    with _without_main():
        process.start()
    theirs.close()
    try:
        yield Child(process, ours)
    finally:
        process.kill()
        process.join(PATIENCE)


@contextmanager
def _without_main() -> Iterator[None]:
    """What multiprocessing would run again in the child as its main module is not there for a while.

    After an AppTest that is the dashboard, which would be started in every child.
    """
    main = sys.modules.pop("__main__")
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _run(end: Connection, cache: str, version: str, work: Callable, args: tuple) -> None:
    os.environ["PROJLENS_CACHE"] = cache
    disk._version = lambda: version  # the test's own, also where sources were edited since it began
    end.send(work(end, *args))


def wait(end: Connection, said: object) -> None:
    """In a child: say something, and wait to be killed or told to go on."""
    end.send(said)
    end.recv()


def small_disk(size: int) -> None:
    """In a child: no file may grow beyond `size` bytes from now on, as on a disk that is full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def little_memory(more: int) -> None:
    """In a child: only so many bytes more than now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def become_nobody() -> None:
    """In a child of root: may read what all may, and write nowhere."""
    os.setgid(65534)
    os.setuid(65534)
