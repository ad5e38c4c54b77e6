"""`projlens_core findings`: the paper's findings measured on the demo models, and the document that says so."""

import argparse
import sys
from pathlib import Path

from projlens_core.cli import arguments, terminal
from projlens_core.runtime.atomic import write_atomically
from projlens_core.runtime.paths import DOCS


def add_parser(sub: argparse._SubParsersAction) -> None:
    """Add this command to the command line."""
    parser = sub.add_parser("findings", help="measure the paper's findings on the demo models, write docs/findings.md")
    parser.add_argument(
        "--n", type=arguments.positive, default=200, metavar="N", help="held-out images; 200 by default"
    )
    parser.add_argument("--parts", nargs="+", metavar="PART", help="analyses to measure; all by default")
    parser.add_argument("--variants", nargs="+", metavar="NAME", help="suspects to measure; all of the zoo by default")
    parser.add_argument("--text-only", action="store_true", help="write the document from what was measured before")
    parser.add_argument("--results", type=Path, default=DOCS / "findings.json", metavar="FILE.json")
    parser.add_argument("--out", type=Path, default=DOCS / "findings.md", metavar="FILE.md")
    arguments.add_device(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Measure what is missing, then write the document; stopped, it goes on next time where it was."""
    # Only here: transformers takes seconds to import, which the other commands need not wait for.
    from projlens_core.cases.models import Loaded
    from projlens_core.research.findings import load, measure
    from projlens_core.research.findings_text import document
    from projlens_core.research.mechanism import load as load_mechanism

    terminal.quiet_transformers()
    if args.text_only:
        results = load(args.results)
    else:
        results = measure(args.results, args.n, args.parts, args.variants, Loaded(args.device), terminal.progress())
    write_atomically(args.out, document(results, load_mechanism()).encode())
    sys.stdout.write(f"{args.out} is written.\n")
