"""`python -m benchmarks.screening`: how fast and how flat a screening is, compared with one command per suspect.

Writes what it measured into benchmarks/screening.json, in place of former runs of the same kind, and from that the
figures in docs/scale.md (see benchmarks.scale).
"""

import argparse
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import population, scale
from benchmarks.environment import environment
from benchmarks.usage import Usage
from projlens_core.nursery.members import MEMBERS
from projlens_core.runtime import helper
from projlens_core.runtime.paths import ZOO
from projlens_core.screen.engines import Engine, engine
from projlens_core.screen.handler import Limits
from projlens_core.screen.listing import read_listing
from projlens_core.screen.plan import ScreenPlan
from projlens_core.screen.run import ScreenProgress, ScreenSettings, screen
from projlens_core.screen.summary import lines

OUT = Path(__file__).with_name("screening.json")
SINGLES = 5  # commands that are timed
LIMITS = Limits()
IMAGES = ZOO / "samples"


def run(
    folder: Path, controls: Sequence[str], out: Path, name: str, workers: int, stages: tuple[str, ...], rows: int
) -> dict:
    """Screen the population, or its first rows: seconds, memory, a hash of the table, the summary."""
    where = folder / f"first-{rows}.jsonl"
    where.write_text("".join((folder / "list.jsonl").read_text().splitlines(keepends=True)[:rows]))
    listing = read_listing(str(where), str(folder / "base"), tuple(controls))
    made: Engine = engine(name, workers, LIMITS)
    times: list[tuple[float, str]] = []
    load = os.getloadavg()[0]
    with Usage() as usage:

        def report(progress: ScreenProgress) -> None:
            if progress.stage != "listing":
                usage.rows = progress.done
                times.append((time.perf_counter(), progress.stage))

        began = time.perf_counter()
        try:
            settings = ScreenSettings(
                str(folder / "base"), stages, ScreenPlan({}), str(IMAGES) if len(stages) > 1 else None
            )
            table = screen(listing, settings, made, out, report)
        finally:
            made.close()
            helper.close_all()
        took = time.perf_counter() - began
    return {
        "engine": name, "workers": workers, "suspects": len(listing.entries), "stages": stages,
        "seconds": took,
        "rate": len(listing.entries) / took,
        "steady_rate": _steady(times, stages),
        "processor": usage.seconds(),
        "memory_first_half": usage.most(0.1, 0.5), "memory_second_half": usage.most(0.5, 1.0),
        "bytes": sum(path.stat().st_size for path in out.rglob("*") if path.is_file()),
        "table": hashlib.sha256((out / "table.parquet").read_bytes()).hexdigest(),
        "summary": lines(table, stages, 0),
        "load": round(load, 1),
    }  # fmt: skip


def _steady(times: list[tuple[float, str]], stages: tuple[str, ...]) -> float:
    """Suspects a second through all stages, without each stage's first fifth, in which workers and models begin."""
    seconds = 0.0
    for stage in stages:
        ends = [moment for moment, of in times if of == stage]
        ends = ends[len(ends) // 5 :]
        seconds += (ends[-1] - ends[0]) / max(len(ends) - 1, 1)
    return 1 / seconds


def single(folder: Path, stages: tuple[str, ...]) -> dict:
    """Seconds of one command on one suspect, and its processor seconds, medians of some; images' tokens are on disk.

    The command is `projlens case` where weights are all that is asked, else a screening of a list of one.
    """
    seconds, used = [], []
    for number, path in enumerate(sorted((folder / "suspects").iterdir())[: SINGLES + 1]):
        line = [sys.executable, "-m", "projlens_core"]
        if stages == ("weights",):
            line += ["case", "--base", str(folder / "base"), "--suspect", str(path), "--json"]
        else:
            one = folder / f"one-{number}.csv"
            one.write_text(f"suspect\n{path}\n")
            line += ["screen", str(one), "--base", str(folder / "base"), "--stages", ",".join(stages)]
            line += ["--images", str(IMAGES), "--workers", "1", "--out", str(folder / f"one-{number}"), "--json"]
        before, began = _processor_of_ended(), time.perf_counter()
        subprocess.run(line, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if number:  # the first fills the cache
            seconds.append(time.perf_counter() - began)
            used.append(_processor_of_ended() - before)
    return {"stages": stages, "seconds": statistics.median(seconds), "processor": statistics.median(used)}


def _processor_of_ended() -> float:
    return sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.screening", description=__doc__)
    parser.add_argument("--members", type=Path, default=MEMBERS, help="where the nursery's members lie")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--engines", nargs="*", default=("local-1", "local-2", "ray-2"))
    parser.add_argument("--stages", default="weights,reference")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args(arguments)
    stages = tuple(args.stages.split(","))
    with tempfile.TemporaryDirectory(prefix="projlens-bench-") as named:
        folder = Path(named)
        controls = population.write(folder, max(args.count, SINGLES + 1), args.members)
        _keep(args.out, "singles", single(folder, stages), ("stages",))
        for number, (name, workers) in enumerate(each.split("-") for each in args.engines):
            done = run(folder, controls, folder / f"out-{number}", name, int(workers), stages, args.count)
            sys.stderr.write(json.dumps(done) + "\n")
            _keep(args.out, "runs", done, ("stages", "engine", "workers", "suspects"))
    if args.out == OUT:
        scale.write(json.loads(OUT.read_text()))


def _keep(path: Path, what: str, measured: dict, kind: tuple[str, ...]) -> None:
    """Write what was measured, in place of what is there of the same kind."""
    measured = json.loads(json.dumps(measured))
    found = json.loads(path.read_text()) if path.is_file() else {}
    former = [each for each in found.get(what, ()) if any(each[name] != measured[name] for name in kind)]
    found |= {"environment": environment(), what: [*former, measured]}
    path.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
