"""How a command hands over an exhibit: its data as JSON, a table as CSV, or what it says as text."""

import argparse
import sys
from typing import TYPE_CHECKING

from projlens_core.cli.terminal import Failures, left_out, write_csv, write_json

if TYPE_CHECKING:
    from projlens_core.analyses.exhibit import Exhibit


def write(exhibit: "Exhibit", args: argparse.Namespace, failures: Failures, text: str, table: int = 0) -> None:
    """What --json and --csv of `arguments` ask for, else `text`; CSV holds the exhibit's table of that number."""
    if args.csv:
        write_csv(exhibit.tables[table], args.csv)
    if args.json:
        write_json(exhibit.data | {"failures": left_out(failures)})
    else:
        sys.stdout.write(text)


def ending(exhibit: "Exhibit", failures: Failures) -> list[str]:
    """The last lines of a text: what has to be borne in mind, and what was left out."""
    return [*(f"- {note}" for note in exhibit.notes), *(f"left out: {reason}" for _, reason in failures)]
