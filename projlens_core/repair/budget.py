"""The time that a repair may take."""

import time
from collections.abc import Callable


class Budget:
    """Says whether there is time for another stage: one as long as the longest so far would end within `minutes`.

    It is asked before each stage; what passes between two questions is taken for one.
    """

    def __init__(self, minutes: float, clock: Callable[[], float] = time.monotonic):
        self._clock, self._longest = clock, 0.0
        self._last = clock()  # seconds
        self._ends = self._last + 60 * minutes

    def __call__(self) -> bool:
        """Whether another stage is to be begun."""
        now = self._clock()
        self._longest, self._last = max(self._longest, now - self._last), now
        return now + self._longest <= self._ends

    def left(self) -> float:
        """Minutes, negative beyond the end."""
        return (self._ends - self._clock()) / 60
