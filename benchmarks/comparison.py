"""Runs a job our way and the reference's, each in fresh processes on the same inputs, and sets them side by side.

Results are compared before anything else: where they disagree, there are no figures.
"""

import os
import pkgutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.report import MEMORY, READ, TIME, Figure, NoFigures, Report, Target
from benchmarks.worker import PEAK, SECONDS
from projlens_core.runtime.paths import cache_dir

ROOT = Path(__file__).resolve().parent.parent
COUNTED = "bytes_read"  # the name under which a side reports how many bytes of the checkpoints it read
SCALED = "scaled_by"  # the name under which a side reports that it did but a part: what its time is to be multiplied by

Results = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Repeats:
    """How often a side is run: so many fresh processes, so many calls of its work in each."""

    processes: int = 1
    calls: int = 1


@dataclass(frozen=True)
class Comparison:
    """One job. prepare, reference and ours are "module:function", so that each process imports only its own.

    prepare(folder, quick) writes the inputs into a folder; reference and ours are sides as benchmarks.worker runs
    them. agree(reference's results, ours) of one call says how closely they agree, or raises NoFigures.
    warm: models are loaded and used once before, and the work alone is timed. Otherwise the time is that of the
    whole process, from its start to its end, imports included. Where a side is timed on a part of the job (SCALED),
    only the time of its work is multiplied.
    """

    name: str
    title: str
    prepare: str
    reference: str
    ours: str
    agree: Callable[[Results, Results], str]
    warm: bool = False
    ours_repeats: Repeats = Repeats()
    reference_repeats: Repeats = Repeats()
    targets: Mapping[str, Target] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def run(self, folder: Path, quick: bool = False) -> Report:
        """Prepare the inputs in `folder`, run both sides, compare, report; NoFigures if they disagree or one fails.

        quick takes small inputs, once, and judges no target.
        """
        pkgutil.resolve_name(self.prepare)(folder, quick)
        once = Repeats()
        ours = self._run(self.ours, folder, once if quick else self.ours_repeats)
        reference = self._run(self.reference, folder, once if quick else self.reference_repeats)
        targets = {} if quick else self.targets
        # the side that is called more often has nothing to compare its last calls with
        agreements = [self.agree(theirs, own) for theirs, own in zip(reference.results, ours.results, strict=False)]
        return Report(
            name=self.name,
            title=self.title,
            figures=tuple(_figures(ours, reference, targets)),
            agreement=agreements[0],
            notes=self.notes,
            timings={"ours": ours.seconds, "reference": reference.seconds},
        )

    def alone(self, side: str, folder: Path) -> "Runs":
        """One more run, of another side on the same inputs."""
        return self._run(side, folder, Repeats())

    def _whole(self, worked: float, process: float, scale: float) -> float:
        return float(scale * worked + (0 if self.warm else process - worked))

    def _run(self, side: str, folder: Path, repeats: Repeats) -> "Runs":
        seconds: list[float] = []
        results: list[Results] = []
        peaks: list[int] = []
        for _ in range(repeats.processes):
            found, whole = _in_fresh_process(side, folder, repeats.calls, self.warm)
            seconds += [self._whole(each, whole, float(found.get(f"1.{SCALED}", 1))) for each in found[SECONDS]]
            peaks.append(int(found[PEAK]))
            for call in range(1, repeats.calls + 1):
                own = f"{call}."
                results.append({n.removeprefix(own): a for n, a in found.items() if n.startswith(own)})
        return Runs(tuple(seconds), max(peaks), tuple(results))


@dataclass(frozen=True)
class Runs:
    """All calls of one side: seconds of each, the most resident memory in bytes of any process, results of each."""

    seconds: tuple[float, ...]
    peak: int
    results: tuple[Results, ...]


@contextmanager
def fresh_environment() -> Iterator[dict[str, str]]:
    """The environment of a measured process: on the CPU, with an empty cache in which only the demo model lies.

    Vision-tower tokens of an earlier run would otherwise be read instead of computed; converting the language model
    is done once on every machine and is no part of any job.
    """
    with tempfile.TemporaryDirectory(prefix="projlens-cache-") as folder:
        models = cache_dir() / "zoo"
        if models.is_dir():
            (Path(folder) / "zoo").symlink_to(models.resolve())
        yield {**os.environ, "PROJLENS_CACHE": folder, "PROJLENS_DEVICE": "cpu"}


def within(name: str, reference: np.ndarray, ours: np.ndarray, share: float) -> str:
    """Say how far apart two arrays are, as a share of the reference's largest magnitude; NoFigures beyond `share`."""
    if reference.shape != ours.shape:
        raise NoFigures(f"{name}: the reference found shape {reference.shape} and ours {ours.shape}.")
    scale = float(np.abs(reference).max())
    apart = float(np.abs(reference - ours).max()) / scale if scale else float(np.abs(ours).max())
    if not apart <= share:
        raise NoFigures(f"{name} differ by {apart:.1e} of the largest, more than the {share:.0e} allowed.")
    return f"{name} agree to {apart:.1e} of the largest (allowed {share:.0e})"


def _in_fresh_process(side: str, folder: Path, calls: int, warm: bool) -> tuple[Results, float]:
    """The results that the worker wrote, and the seconds from its start to its end."""
    with fresh_environment() as environment, tempfile.TemporaryDirectory(prefix="projlens-bench-") as results:
        out = Path(results) / "results.npz"
        command = [sys.executable, "-m", "benchmarks.worker", side, folder, str(calls), "warm" if warm else "cold", out]
        start = time.perf_counter()
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        whole = time.perf_counter() - start
        if done.returncode:
            raise NoFigures(f"{side} failed.\n{done.stderr}")
        with np.load(out) as found:
            return dict(found), whole


def _figures(ours: Runs, reference: Runs, targets: Mapping[str, Target]) -> Iterator[Figure]:
    none = Target()
    medians = statistics.median(ours.seconds), statistics.median(reference.seconds)
    yield Figure(TIME, *medians, targets.get(TIME, none))
    yield Figure(MEMORY, ours.peak, reference.peak, targets.get(MEMORY, none))
    if COUNTED in ours.results[0]:
        counts = (int(runs.results[0][COUNTED]) for runs in (ours, reference))
        yield Figure(READ, *counts, targets.get(READ, none))
