"""What workers of one machine share of a base that lies on the Hub: its projector's bytes, fetched once for all.

The confined process that does the work may write no files. So the worker has the ranges fetched by another confined
process, under a lock that all workers of the machine know, and keeps them in the cache folder; every process reads them
there. Where that fails, a process reads the base from the Hub itself, and says what is wrong with it.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from projlens_core.errors import ProjLensError
from projlens_core.runtime.atomic import write_atomically
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.child import Child
from projlens_core.runtime.confine import CONNECT
from projlens_core.runtime.paths import cache_dir
from projlens_core.screen.task import ScreenTask
from projlens_core.sources import HUB_PREFIX

FOLDER = "hub-bases"
MOST = 16  # bases that are kept on a machine
LONGEST = 2**30  # bytes of a projector's files that are shared
_LOOK = 0.5  # s between two looks at whether the wait for another worker is to end
_TARGET = "projlens_core.screen.work:fetch"


def shared(task: ScreenTask, memory: int, seconds: float, given_up: Callable[[], bool]) -> Path | None:
    """The file of ranges of the task's base, fetched if no worker of this machine did; None if it is not on the Hub,
    or cannot be shared. given_up: whether nobody waits for it any more.
    """
    if not task.base.startswith(HUB_PREFIX):
        return None
    with suppress(ProjLensError, OSError):
        folder = cache_dir() / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        endpoint = task.environment().get("HF_ENDPOINT")  # another one may have other files under the same name
        path = folder / f"{content_key(task.base, task.base_identity, task.version, endpoint)[:32]}.ranges"
        lock = FileLock(path.with_suffix(".lock"))
        while not given_up():
            try:
                with lock.acquire(timeout=_LOOK):
                    if not path.is_file():
                        _make_room(folder)
                        write_atomically(path, _fetched(task, memory, seconds))
                    return path
            except Timeout:
                continue
    return None


def _fetched(task: ScreenTask, memory: int, seconds: float) -> bytes:
    payload = {"base": task.base, "environment": task.environment()}
    with Child(_TARGET, what="The base", memory=memory, seconds=seconds, output=LONGEST, may=CONNECT) as child:
        return child.ask(payload)["ranges"]


def _make_room(folder: Path) -> None:
    """Drop those that were fetched longest ago; a worker that looks for one of them asks the Hub."""
    kept = sorted(folder.glob("*.ranges"), key=lambda path: path.stat().st_mtime)
    for path in kept[: max(0, len(kept) + 1 - MOST)]:
        path.unlink(missing_ok=True)
