"""`python -m benchmarks.screening`: how fast and how flat a screening is, compared with one command per suspect.

Writes benchmarks/screening.json, from which the figures in docs/scale.md are.
"""

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from benchmarks import population
from benchmarks.environment import busy, environment
from projlens_core.nursery.members import MEMBERS
from projlens_core.runtime import helper
from projlens_core.runtime.paths import ZOO
from projlens_core.screen.engines import Engine, engine
from projlens_core.screen.handler import Limits
from projlens_core.screen.listing import read_listing
from projlens_core.screen.plan import Plan
from projlens_core.screen.run import Progress, Settings, screen
from projlens_core.screen.summary import lines

OUT = Path(__file__).with_name("screening.json")
SINGLES = 5  # commands that are timed
LIMITS = Limits()
IMAGES = ZOO / "samples"
SAMPLE = 0.2  # s between two looks at memory


class Memory:
    """Resident memory of all processes that do the work, sampled while the block runs: (row count, bytes)."""

    def __init__(self) -> None:
        self.samples: list[tuple[int, int]] = []
        self.rows, self._ending = 0, threading.Event()

    def __enter__(self) -> "Memory":
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _sample(self) -> None:
        own = psutil.Process()
        while not self._ending.wait(SAMPLE):
            held = 0
            for process in (own, *own.children(recursive=True)):
                try:
                    held += process.memory_full_info().pss  # what forks share counts once
                except psutil.Error:
                    continue
            self.samples.append((self.rows, held))

    def most(self, first: float, last: float) -> int:
        """The most that was held between these shares of all rows."""
        rows = max((row for row, _ in self.samples), default=0)
        return max((held for row, held in self.samples if first * rows <= row <= last * rows), default=0)


def run(
    folder: Path, controls: Sequence[str], out: Path, name: str, workers: int, stages: tuple[str, ...], rows: int
) -> dict:
    """Screen the population, or its first rows: seconds, memory, a hash of the table, the summary."""
    where = folder / f"first-{rows}.jsonl"
    where.write_text("".join((folder / "list.jsonl").read_text().splitlines(keepends=True)[:rows]))
    listing = read_listing(str(where), str(folder / "base"), tuple(controls))
    made: Engine = engine(name, workers, LIMITS)
    times: list[float] = []
    with Memory() as memory:

        def report(progress: Progress) -> None:
            if progress.stage != "listing":
                memory.rows = progress.done
                times.append(time.perf_counter())

        began, before = time.perf_counter(), _processor()
        try:
            settings = Settings(str(folder / "base"), stages, Plan({}), str(IMAGES) if len(stages) > 1 else None)
            table = screen(listing, settings, made, out, report)
        finally:
            made.close()
            helper.close_all()
        took, used = time.perf_counter() - began, _processor() - before
    steady = times[len(times) // 5 :]  # without the start of the workers
    return {
        "engine": name, "workers": workers, "suspects": len(listing.entries), "seconds": took,
        "processor_seconds": used,
        "rate": len(listing.entries) / took,
        "steady_rate": (len(steady) - 1) / (steady[-1] - steady[0]),
        "memory_first_half": memory.most(0.1, 0.5), "memory_second_half": memory.most(0.5, 1.0),
        "bytes": sum(path.stat().st_size for path in out.rglob("*") if path.is_file()),
        "table": hashlib.sha256((out / "table.parquet").read_bytes()).hexdigest(),
        "stages": stages, "summary": lines(table, stages, 0),
    }  # fmt: skip


def _processor() -> float:
    """Processor time of this process and of its ended children."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def single(folder: Path) -> dict:
    """Seconds of `projlens case --json` on one suspect, the median of some."""
    seconds = []
    for path in sorted((folder / "suspects").iterdir())[:SINGLES]:
        line = [sys.executable, "-m", "projlens_core", "case", "--base", str(folder / "base"), "--suspect", str(path)]
        began = time.perf_counter()
        subprocess.run([*line, "--json"], check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - began)
    return {"seconds": sorted(seconds)[len(seconds) // 2]}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.screening", description=__doc__)
    parser.add_argument("--members", type=Path, default=MEMBERS, help="where the nursery's members lie")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--growth", type=int, nargs="*", default=(), help="further sizes, two local workers")
    parser.add_argument("--engines", nargs="*", default=("local-1", "local-2", "ray-2"))
    parser.add_argument("--stages", default="weights,reference")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args(arguments)
    found: dict = {"environment": environment()}
    found["busy"] = busy(found["environment"])
    with tempfile.TemporaryDirectory(prefix="projlens-bench-") as named:
        folder = Path(named)
        controls = population.write(folder, max(args.count, *args.growth, 0), args.members)
        found["single"] = single(folder)
        found["runs"] = []
        for number, (name, workers, rows) in enumerate(
            [(*each.split("-"), args.count) for each in args.engines] + [("local", 2, rows) for rows in args.growth]
        ):
            done = run(
                folder, controls, folder / f"out-{number}", name, int(workers), tuple(args.stages.split(",")), rows
            )
            found["runs"].append(done)
            sys.stderr.write(json.dumps(done) + "\n")
            args.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
