"""Whose turn it is where only one may work at a time: first come, first served, and everybody told how long it is."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from projlens_core.runtime.progress import Progress, silent

TOLD_EVERY = 0.5  # s


class FifoLock:
    """A line before something that serves one thread at a time; `what` is its name in the user's words."""

    def __init__(self, what: str):
        self._what = what
        self._line: deque[object] = deque()  # one ticket for each thread; whose is first has its turn
        self._moved = threading.Condition()

    @contextmanager
    def turn(self, progress: Progress = silent) -> Iterator[None]:
        """Wait for the caller's turn, which lasts as long as the block; not to be nested.

        Whoever waits is told every half second; what `progress` raises then, to end the work, also gives up the place.
        """
        ticket = object()
        with self._moved:
            self._line.append(ticket)
        try:
            self._wait(ticket, progress)
            yield
        finally:
            with self._moved:
                self._line.remove(ticket)
                self._moved.notify_all()

    def _wait(self, ticket: object, progress: Progress) -> None:
        joined = 0
        while ahead := self._ahead(ticket):
            joined = joined or ahead
            progress(f"Waiting, number {ahead} in line for {self._what}; served before you", joined - ahead, joined)

    def _ahead(self, ticket: object) -> int:
        """How many come before `ticket`: 0 as soon as it has its turn, else after a while."""
        with self._moved:
            self._moved.wait_for(lambda: self._line[0] is ticket, TOLD_EVERY)
            return self._line.index(ticket)
