"""`projlens screen`: many suspects, stage by stage, on this machine or on a Ray cluster."""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from projlens_core.cli import arguments, terminal
from projlens_core.errors import InvalidInput
from projlens_core.runtime.text import visible

if TYPE_CHECKING:
    from projlens_core.screen.run import Report, ScreenProgress

STAGES = ("weights",)  # that are done by default
FAILED, DEMONSTRATED, SUSPICIOUS = "failed", "demonstrated", "suspicious"
FOUND = 3  # exit code where --fail-on finds what it names
MIB = 2**20
SHOWN = 20  # rows of the table in the terminal


def add_parser(sub: argparse._SubParsersAction) -> None:
    """Add this command to the command line."""
    parser = sub.add_parser("screen", help="screen many suspects of one base, on this machine or on a Ray cluster")
    parser.add_argument(
        "where",
        metavar="LIST|FOLDER|hub:OWNER",
        help="a .csv or .jsonl list, a folder of models, or an owner on the Hub",
    )
    parser.add_argument(
        "--base", required=True, metavar="MODEL", help="the suspects' base; a list may name another for each"
    )
    parser.add_argument(
        "--control", action="append", default=[], metavar="MODEL", help="an honest fine-tune; repeat for several"
    )
    parser.add_argument(
        "--stages", default=",".join(STAGES), metavar="NAME,…", help="stages to run, in order; weights by default"
    )
    parser.add_argument(
        "--plan", type=Path, metavar="FILE", help="JSON that says which suspects go on to the next stage, and how many"
    )
    parser.add_argument("--images", metavar="DIR", help="a folder of clean images, for the stages that need them")
    parser.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="DIR",
        help="the result folder; run the command again to continue there",
    )
    parser.add_argument("--engine", choices=("local", "ray"), default="local")
    parser.add_argument(
        "--address", metavar="HOST:PORT", help="address of a Ray cluster; without it, one is started on this machine"
    )
    parser.add_argument(
        "--workers",
        type=arguments.positive,
        default=os.cpu_count() or 1,
        metavar="N",
        help="worker processes; one per core by default",
    )
    parser.add_argument(
        "--memory",
        type=arguments.positive,
        default=4096,
        metavar="MB",
        help="memory limit of a worker; 4096 by default",
    )
    parser.add_argument(
        "--seconds", type=float, default=300.0, metavar="S", help="processor time limit of a suspect; 300 by default"
    )
    parser.add_argument(
        "--gpus", type=float, default=0.0, metavar="X", help="with Ray: share of a GPU that a worker takes"
    )
    parser.add_argument("--retry", action="store_true", help="try again what a limit or a crash stopped before")
    parser.add_argument(
        "--fail-on",
        choices=(DEMONSTRATED, SUSPICIOUS, FAILED),
        metavar="WHAT",
        help="exit with code 3 if any suspect is demonstrated or suspicious (also: demonstrated), or if any failed",
    )
    arguments.add_json(parser, "one object per row")
    arguments.add_csv(parser, "the table")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    # only here: an interrupt meanwhile is heard
    from projlens_core.report.spreadsheet import as_csv
    from projlens_core.runtime.atomic import write_atomically
    from projlens_core.screen import engines, summary
    from projlens_core.screen import plan as plans
    from projlens_core.screen.handler import Limits
    from projlens_core.screen.listing import read_listing
    from projlens_core.screen.run import ScreenSettings, screen

    if not args.seconds > 0:
        raise InvalidInput(f"--seconds is {args.seconds}; expected more than 0.")
    settings = ScreenSettings(
        args.base,
        tuple(args.stages.split(",")),
        plans.read_plan(args.plan) if args.plan else plans.read_plan(),
        args.images,
        retry=args.retry,
    )
    listing = read_listing(args.where, args.base, tuple(args.control))
    limits = Limits(args.memory * MIB, args.seconds)
    engine = engines.engine(args.engine, args.workers, limits, args.address, args.gpus)
    try:
        table = screen(listing, settings, engine, args.out, _report())
    finally:
        engine.close()
    if args.csv:
        write_atomically(args.csv, as_csv(table))
    if args.json:
        terminal.write_json({"suspects": table.astype(object).where(table.notna(), None).to_dict("records")})
    else:
        sys.stdout.write("\n".join(summary.lines(table, settings.stages, SHOWN)) + "\n")
    if args.fail_on and summary.any_is(table, settings.stages, args.fail_on):
        sys.stdout.flush()
        raise SystemExit(FOUND)


def _report() -> "Report":
    """Progress with rate and time left, in one line where stderr is a terminal, else a line every ten seconds."""
    live, last = sys.stderr is not None and sys.stderr.isatty(), [0.0]

    def show(progress: "ScreenProgress") -> None:
        ended = progress.done == progress.total
        if sys.stderr is None or (not live and not ended and time.monotonic() - last[0] < 10):
            return
        last[0] = time.monotonic()
        line = f"{progress.stage}: {progress.done:,} of {progress.total:,}"
        if progress.failed:
            line += f", {progress.failed:,} failed"
        if progress.rate is not None and progress.left is not None:
            line += f", {progress.rate:.1f}/s, {_clock(progress.left)} left"
        sys.stderr.write(f"\r\x1b[K{visible(line)}" + ("\n" if ended else "") if live else f"{visible(line)}\n")
        sys.stderr.flush()

    return show


def _clock(seconds: float) -> str:
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"
