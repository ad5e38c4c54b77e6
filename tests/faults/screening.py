"""What a child process screens while a fault happens to it."""

import resource
from multiprocessing.connection import Connection

from projlens_core.screen import writer
from projlens_core.screen.engines.local import Local
from projlens_core.screen.handler import Limits
from projlens_core.screen.listing import read_listing
from projlens_core.screen.plan import ScreenPlan
from projlens_core.screen.run import ScreenProgress, ScreenSettings, screen
from tests.faults.children import wait

LIMITS = Limits(memory=512 * 2**20, seconds=30)


def screened(folder: str, out: str, report=lambda _: None, engine=None):
    """The population in a folder (see tests.screening), weights alone."""
    from pathlib import Path

    base = f"{folder}/base"
    listing = read_listing(f"{folder}/suspects.jsonl", base)
    return screen(listing, ScreenSettings(base, plan=ScreenPlan({})), engine or Local(2, LIMITS), Path(out), report)


def screen_until(end: Connection, folder: str, out: str, rows: int) -> None:
    """Wait, to be killed, once so many rows are there and written."""
    writer.EVERY = 0

    def report(progress: ScreenProgress) -> None:
        if progress.stage == "weights" and progress.done == rows:
            wait(end, progress.done)

    screened(folder, out, report)


def screen_on_a_disk_that_is_full_for_a_while(end: Connection, folder: str, out: str) -> int:
    """From the second row to the sixth no file can be written; how many rows there are in the end."""
    writer.EVERY = 0
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def report(progress: ScreenProgress) -> None:
        if progress.stage == "weights" and progress.done in (2, 6):
            resource.setrlimit(resource.RLIMIT_FSIZE, (100 if progress.done == 2 else hard, hard))

    return len(screened(folder, out, report))
