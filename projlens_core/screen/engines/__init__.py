"""Where tasks are done: in processes of this machine, or by Ray's actors on many. Both run the same worker code."""

from collections.abc import Iterable, Iterator
from typing import Protocol

from projlens_core.screen.handler import Limits
from projlens_core.screen.task import ScreenTask, TaskResult

ENGINES = ("local", "ray")


class Engine(Protocol):
    """Takes tasks as it has room for them, never more than it can hold, and gives rows as they come."""

    def rows(self, tasks: Iterable[ScreenTask]) -> Iterator[TaskResult]:
        """A row for each task, in any order. Close the iterator to cancel: nothing that was started goes on."""

    def close(self) -> None:
        """End all that it started."""


def engine(name: str, workers: int, limits: Limits, address: str | None = None, gpus: float = 0.0) -> Engine:
    """The engine called `name` with so many workers; InvalidInput if Ray is asked for and not installed."""
    if name == "local":
        from projlens_core.screen.engines.local import Local  # only the one that is asked for

        return Local(workers, limits)
    from projlens_core.screen.engines.ray import Cluster

    return Cluster(workers, limits, address, gpus)
