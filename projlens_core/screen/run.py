"""A screening from its listing to its table: stage by stage the tasks that are left; rows are kept as they come."""

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas as pd
from filelock import FileLock, Timeout

from projlens_core.errors import InvalidInput, ProjLensError
from projlens_core.runtime.atomic import write_atomically
from projlens_core.runtime.plain import as_json
from projlens_core.runtime.versions import PROJLENS
from projlens_core.screen import entries, stages, table, work
from projlens_core.screen import plan as plans
from projlens_core.screen.engines import Engine
from projlens_core.screen.identity import folder_identity, identity, pinned
from projlens_core.screen.listing import Listing
from projlens_core.screen.store import Store
from projlens_core.screen.task import DONE, FAILED, STOPPED, ScreenTask
from projlens_core.screen.writer import Writer

LOCK, SETTINGS, PROGRESS = ".lock", "screen.json", "progress.json"
LATELY = 200  # rows over which the rate is taken
EVERY = 1.0  # s, after which progress is written anew


@dataclass(frozen=True)
class ScreenSettings:
    """What is asked for: stages in their order, a plan, a folder of images for those that look at some. retry: do again
    what a limit or a crash stopped before.
    """

    base: str
    stages: tuple[str, ...] = ("weights",)
    plan: plans.ScreenPlan = field(default_factory=plans.read_plan)
    images: str | None = None
    options: dict[str, dict] = field(default_factory=dict)
    retry: bool = False


@dataclass(frozen=True)
class ScreenProgress:
    """Where a screening is: done of total rows of a stage, those of a former run among them, so many not "done" in the
    sense of TaskResult. rate: rows a second of late; left: s to the end of the stage; both None before there is a rate.
    """

    stage: str
    done: int
    total: int
    failed: int = 0
    rate: float | None = None
    left: float | None = None


Report = Callable[[ScreenProgress], None]


def screen(
    listing: Listing, settings: ScreenSettings, engine: Engine, out: Path, report: Report = lambda _: None
) -> table.Table:
    """Screen all of the listing into the folder `out`; the table that comes of it, which lies there, too.

    InvalidInput if another process is at work there, if the base cannot be read, or if the disk takes no more; whatever
    ends it, what was finished is kept, and the same call goes on from there.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with FileLock(out / LOCK, timeout=0):
            return _Screening(listing, settings, engine, out, report).run()
    except Timeout:
        raise InvalidInput(f"Another process is screening into {out}; wait for it, or give another folder.") from None
    except OSError as error:
        raise InvalidInput(f"{out} cannot be written ({error.strerror}); choose another place.") from error


class _Screening:
    def __init__(self, listing: Listing, settings: ScreenSettings, engine: Engine, out: Path, report: Report):
        self.listing, self.settings, self.engine, self.out, self._report = listing, settings, engine, out, report
        self.store = Store(out)
        self.stages = [stages.find(name) for name in settings.stages]
        self.images = folder_identity(settings.images) if settings.images else None
        if settings.images is None and (blind := [each.key for each in self.stages if each.needs_images]):
            raise InvalidInput(f"The stage {blind[0]} looks at images; give a folder of them.")
        self._told = 0.0

    def run(self) -> table.Table:
        identity(pinned(self.settings.base))  # says what is wrong with it before anything is begun
        total = len(self.listing.entries)
        looked = entries.entries(self.listing, lambda n: self.report(ScreenProgress("listing", n, total)))
        self.entries = list(looked)
        described = self._described()
        self._write_settings()
        for number, stage in enumerate(self.stages):
            gate = self.settings.plan.gate(stage.key, described.stages[:number])
            if gate is not None:
                described.reasons[stage.key] = table.reasons(
                    described, self.store, stage.key, gate, self.settings.plan.seed
                )
            table.write_description(described, self.out)
            self._do(stage, described)
        found = table.assemble(described, self.store)
        table.write(found, self.out)
        return found

    def _described(self) -> table.Description:
        """The listing as the result folder keeps it."""
        frame = pd.DataFrame(
            [(e.named, e.role, e.truth, e.base or self.settings.base, e.identity, e.trouble) for e in self.entries],
            columns=["suspect", "role", "truth", "base", "identity", "trouble"],
        )
        keys = {stage.key: [self._key(stage, each) for each in self.entries] for stage in self.stages}
        return table.Description(tuple(stage.key for stage in self.stages), frame, keys)

    def _do(self, stage: stages.Stage, described: table.Description) -> None:
        """Have done what is left of a stage."""
        admitted = described.reasons.get(stage.key)
        tasks: dict[str, ScreenTask] = {}
        for each in sorted(self.entries, key=lambda entry: entry.base_identity):  # one base after the other
            if not each.trouble and (admitted is None or admitted.get(each.identity) in plans.GOES_ON):
                task = self._task(stage, each)
                tasks.setdefault(task.key, task)
        kept = self.store.keys(stage.key, (DONE, FAILED) if self.settings.retry else (DONE, FAILED, STOPPED))
        left = [task for key, task in tasks.items() if key not in kept]
        total, done, failed = len(tasks), len(tasks) - len(left), 0
        lately: deque[float] = deque([time.monotonic()], maxlen=LATELY)
        self.report(ScreenProgress(stage.key, done, total), now=True)
        with Writer(self.store) as writer:
            for row in self.engine.rows(left):
                writer.add(row)
                done, failed = done + 1, failed + (row.status != DONE)
                lately.append(time.monotonic())
                rate = (len(lately) - 1) / max(lately[-1] - lately[0], 1e-9)
                self.report(ScreenProgress(stage.key, done, total, failed, rate, (total - done) / rate))
        self.report(ScreenProgress(stage.key, done, total, failed), now=True)

    def _task(self, stage: stages.Stage, entry: entries.ListingEntry) -> ScreenTask:
        images = self.settings.images if stage.needs_images else None
        return ScreenTask(
            stage.key,
            stage.module,
            entry.suspect,
            entry.identity,
            entry.base,
            entry.base_identity,
            work.version(),
            images,
            self.images if images else None,
            self.settings.options.get(stage.key, {}),
        )

    def _key(self, stage: stages.Stage, entry: entries.ListingEntry) -> str:
        return "" if entry.trouble else self._task(stage, entry).key

    def report(self, progress: ScreenProgress, now: bool = False) -> None:
        """Tell who asked, and now and then whoever watches the folder."""
        self._report(progress)
        if now or time.monotonic() - self._told > EVERY:
            self._told = time.monotonic()
            with suppress(ProjLensError):  # a full disk: what counts is told by who writes the rows
                write_atomically(self.out / PROGRESS, as_json(asdict(progress)).encode())

    def _write_settings(self) -> None:
        values = {
            "projlens": PROJLENS,
            "base": self.settings.base,
            "stages": list(self.settings.stages),
            "images": self.settings.images,
            "plan": self.settings.plan.to_dict(),
            "listed": len(self.entries),
            "skipped": [list(pair) for pair in self.listing.skipped],
        }
        write_atomically(self.out / SETTINGS, as_json(values, indent=1).encode())
