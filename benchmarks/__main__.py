"""`python -m benchmarks`: run the jobs, print the table, write benchmarks/results.json."""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import activations, behaviour, dashboard, weights
from benchmarks.environment import busy, environment
from benchmarks.report import NoFigures, Report, shown_bytes, table

RESULTS = Path(__file__).with_name("results.json")
JOBS: dict[str, Callable[[Path, bool], Report]] = {
    "weights": weights.run,
    "heatmaps": activations.HEATMAPS.run,
    "shifts": activations.SHIFTS.run,
    "answers": behaviour.ANSWERS.run,
    "dashboard": dashboard.run,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the jobs asked for; 1 if one has no figures, because results disagree or it cannot be run here."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=JOBS, help="one job by name; may be given several times")
    parser.add_argument("--quick", action="store_true", help="small inputs, once each: checks that results agree")
    parser.add_argument("--out", type=Path, help=f"where to write JSON; default for a complete run: {RESULTS.name}")
    args = parser.parse_args(arguments)
    setting = environment()
    reports = []
    with tempfile.TemporaryDirectory(prefix="projlens-bench-") as inputs:
        for name in args.only or JOBS:
            sys.stderr.write(f"{name} …\n")
            reports.append(_run(name, Path(inputs), args.quick))
    out = args.out or (None if args.only or args.quick else RESULTS)
    if out is not None:
        found = {"environment": setting, "quick": args.quick, "jobs": [report.as_dict() for report in reports]}
        out.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    sys.stdout.write(f"{_heading(setting, args.quick)}\n\n{table(reports)}\n")
    return 1 if any(report.failure for report in reports) else 0


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
