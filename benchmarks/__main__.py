"""`python -m benchmarks`: run the jobs, print the table, write benchmarks/results.json and docs/performance.md."""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import (
    activations,
    behaviour,
    dashboard,
    grid,
    growth,
    load,
    performance,
    sets,
    triplets,
    verdict,
    weights,
)
from benchmarks.environment import busy, environment
from benchmarks.report import NoFigures, Report, shown_bytes, table

GROWTH = "growth"
RESULTS = Path(__file__).with_name("results.json")
JOBS: dict[str, Callable[[Path, bool], Report]] = {
    "weights": weights.run,
    "triplets": triplets.COMPARISON.run,
    "shifts-7b": sets.run_seven_b,
    "ranking": sets.RANKING.run,
    "grid": grid.COMPARISON.run,
    "heatmaps": activations.HEATMAPS.run,
    "answers": behaviour.ANSWERS.run,
    "verdict-tokens": verdict.run,
    "verdict-probes": verdict.ANSWERS.run,
    "dashboard": dashboard.run,
    "sessions": load.run,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the jobs asked for; 1 if one has no figures, because results disagree or it cannot be run here."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    choices = (*JOBS, GROWTH)
    parser.add_argument("--only", action="append", choices=choices, help="one job by name; may be given several times")
    parser.add_argument("--quick", action="store_true", help="small inputs, once each: checks that results agree")
    parser.add_argument("--update", action="store_true", help="with --only: put these jobs' figures among those kept")
    parser.add_argument("--out", type=Path, help=f"where to write JSON; default for a complete run: {RESULTS.name}")
    args = parser.parse_args(arguments)
    out = args.out or (RESULTS if args.update or not (args.only or args.quick) else None)
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if args.update else {}
    setting = environment()
    reports: dict[str, Report] = {}
    jobs = {job["name"]: job for job in kept.get("jobs", ())}
    growth_found = kept.get("growth")
    with tempfile.TemporaryDirectory(prefix="projlens-bench-") as inputs:
        for name in args.only or choices:
            sys.stderr.write(f"{name} …\n")
            if name == GROWTH:
                growth_found = growth.measure(args.quick)
            else:
                reports[name] = _run(name, Path(inputs), args.quick)
                jobs[name] = reports[name].as_dict()
            if out is not None:  # after each job, so that a run that is stopped has lost none
                ordered = [jobs[each] for each in JOBS if each in jobs]
                found = {"environment": setting, "quick": args.quick, "jobs": ordered, GROWTH: growth_found}
                out.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if out == RESULTS:
        performance.write(found)
    sys.stdout.write(f"{_heading(setting, args.quick)}\n\n{table(list(reports.values()))}\n")
    return 1 if any(report.failure for report in reports.values()) else 0


def _run(name: str, inputs: Path, quick: bool) -> Report:
    try:
        return JOBS[name](inputs, quick)
    except NoFigures as error:
        return Report(name, name, failure=str(error))


def _heading(setting: dict, quick: bool) -> str:
    lines = [
        f"{setting['cpu_count']} cores, {shown_bytes(setting['memory'])}, {setting['device']}; "
        f"Python {setting['python']}, torch {setting['torch']}, transformers {setting['transformers']}.",
        "Times are medians, memory is the most that a fresh process held; “ahead by” is reference / ours.",
    ]
    if quick:
        lines.append("Quick run: small inputs, once each; its figures say nothing, only that results agree.")
    if busy(setting):
        lines.append(f"The machine was busy (load {setting['load']} before the first job): do not trust the times.")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
