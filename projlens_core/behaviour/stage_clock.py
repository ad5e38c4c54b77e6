"""Which stage a long search is in, how long it may still take, and when its budget is spent."""

import time

from projlens_core.runtime.progress import Progress

RESERVED = 0.25  # of a budget, for what must still be done with what was found


class OutOfTime(Exception):
    """The budget of a search is spent."""


class StageClock:
    """Reports progress as "STAGE, step (left: …)"; budget: minutes, None for no end. stage may be set at any time."""

    def __init__(self, progress: Progress, budget: float | None):
        self.stage, self.budget, self._report = "", budget, progress
        self._begun, self._step = time.monotonic(), ("", 0.0)  # the step, and when it began

    @property
    def spent(self) -> bool:
        """Whether no more may be searched: the rest of the budget is for what was found."""
        return self.outlasts(0)

    def outlasts(self, seconds: float) -> bool:
        """Whether what takes so long would not end before the budget is spent."""
        return self.budget is not None and self._left() - seconds / 60 < RESERVED * self.budget

    def progress(self, step: str, done: int, total: int) -> None:
        """A Progress that tells the stage and the time that is left of the step, and at most of all."""
        now = time.monotonic()
        if self._step[0] != step:
            self._step = step, now
        left = [f"this step {(now - self._step[1]) * (total - done) / done / 60:.1f} min"] if done else []
        left += [] if self.budget is None else [f"all of it at most {max(self._left(), 0):.1f} min"]
        named = f"{self.stage}, {step[:1].lower()}{step[1:]}"
        self._report(f"{named} (left: {'; '.join(left)})" if left else named, done, total)

    def searching(self, step: str, done: int, total: int) -> None:
        """The same for what is given up when the time for it is spent: raises OutOfTime."""
        if self.spent:
            raise OutOfTime
        self.progress(step, done, total)

    def _left(self) -> float:
        """Minutes of the budget."""
        return self.budget - (time.monotonic() - self._begun) / 60 if self.budget is not None else float("inf")
