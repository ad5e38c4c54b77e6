"""How long work reports itself: a stage, a count and an end."""

from typing import Protocol


class Progress(Protocol):
    """Called with a stage in the user's words and a count; raise Cancelled in it to stop the work."""

    def __call__(self, stage: str, done: int, total: int, /) -> None:
        """Take note that `done` of `total` steps of `stage` are finished."""


def silent(stage: str, done: int, total: int) -> None:
    """Report nothing: the default of every function that takes a Progress."""


def labelled(progress: Progress, what: str) -> Progress:
    """The same with `what`, in brackets, behind the name of each stage."""
    return lambda stage, done, total: progress(f"{stage} ({what})", done, total)
