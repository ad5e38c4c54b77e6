"""`projlens_core report`: all analyses of a case as one HTML file, and as a bundle that reopens without weights."""

import argparse
import sys
from pathlib import Path

from projlens_core.cases.case import Case
from projlens_core.cli import arguments, terminal
from projlens_core.errors import InvalidInput
from projlens_core.inputs.images import load_folder
from projlens_core.runtime.atomic import write_atomically
from projlens_core.runtime.paths import SAMPLES
from projlens_core.sources import resolve


def add_parser(sub: argparse._SubParsersAction) -> None:
    """Add this command to the command line."""
    parser = sub.add_parser("report", help="write all findings about a case as one HTML file")
    arguments.add_case(parser)
    arguments.add_projector_only(parser)
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="a folder of clean images; for a zoo suspect, the samples by default"
    )
    parser.add_argument("--n", type=arguments.positive, metavar="N", help="use the first N images only")
    arguments.add_trigger(parser)
    arguments.add_target(parser)
    arguments.add_questions(parser)
    parser.add_argument(
        "--parts",
        nargs="+",
        metavar="PART",
        help="analyses to include, for example `case lens response`; all by default",
    )
    arguments.add_answers(parser)
    arguments.add_device(parser)
    parser.add_argument("--out", required=True, type=Path, metavar="FILE.html", help="where the report is written")
    parser.add_argument("--bundle", type=Path, metavar="FILE.zip", help="also write a case bundle")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Gather what was asked for, write the files, and say what is missing."""
    # Only here: transformers takes seconds to import, which the other commands need not wait for.
    from projlens_core.analyses.context import inputs_for
    from projlens_core.behaviour.success import read_labels
    from projlens_core.cases.models import Loaded
    from projlens_core.report.bundle import pack
    from projlens_core.report.gather import record_of
    from projlens_core.report.html import as_html

    for path in (args.out, args.bundle):  # before an hour of work
        if path is not None and not path.parent.is_dir():
            raise InvalidInput(f"There is no folder {path.parent} to write {path.name} into; make it first.")
    terminal.quiet_transformers()
    report = terminal.progress()
    suspect = resolve(args.suspect)
    folder = args.images or (SAMPLES if suspect.zoo is not None else None)
    asked = inputs_for(
        Case(args.base, args.suspect, args.control, args.projector_only),
        load_folder(folder) if folder else None,
        read_labels(folder) if folder else None,
        trigger=args.trigger,
        target=args.target,
        questions=tuple(args.questions or ()),
        max_new_tokens=args.max_new_tokens,
    )
    record = record_of(asked.first(args.n), args.parts, Loaded(args.device), report, command=_command(args))
    write_atomically(args.out, as_html(record, report).encode())
    if args.bundle is not None:
        write_atomically(args.bundle, pack(record))
    for part in record.missing:
        sys.stdout.write(f"{part.part}: not done: {part.reason}\n")
    parts = len(record.exhibits)
    sys.stdout.write(f"{args.out} holds {parts} part{'' if parts == 1 else 's'}.\n")


def _command(args: argparse.Namespace) -> str:
    from projlens_core.report.record import command_line  # only here: see run

    return command_line(
        "report",
        {
            "base": args.base,
            "suspect": args.suspect,
            "control": args.control,
            "projector-only": args.projector_only or None,
            "images": args.images,
            "n": args.n,
            "trigger": args.trigger,
            "target": args.target,
            "prompt": tuple(args.questions) if args.questions else None,
            "max-new-tokens": args.max_new_tokens,
            "parts": args.parts,
            "out": args.out,
        },
    )
