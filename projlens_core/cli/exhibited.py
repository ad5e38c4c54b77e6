"""How a command hands over an exhibit: its data as JSON, a table as CSV, or its headlines as text."""

import argparse
import sys
from collections.abc import Sequence

from projlens_core.cli.terminal import write_csv, write_json
from projlens_core.evidence.exhibit import Exhibit, Metric


def write(exhibit: Exhibit, args: argparse.Namespace, failures: Sequence[tuple[str, str]], *more: str) -> None:
    """What --json and --csv of `arguments` ask for: CSV holds the first table.

    failures are (image, sentence), what was left out; more are the lines between headlines and notes of the text.
    """
    if "csv" in args and args.csv:
        write_csv(exhibit.tables[0], args.csv)
    if args.json:
        left_out = [{"image": name, "reason": reason} for name, reason in failures]
        write_json(exhibit.data | {"failures": left_out})
        return
    lines = [headline(card) for card in exhibit.metrics]
    lines += [*(("", *more) if more else ()), "", *(f"- {note}" for note in exhibit.notes)]
    lines += [f"left out: {reason}" for _, reason in failures]
    sys.stdout.write("\n".join(lines).rstrip() + "\n")


def headline(card: Metric) -> str:
    """A headline number with its interval and the control beside it, as one line."""
    beside = [f"95 % interval {card.interval}"] if card.interval else []
    beside += [f"control {card.control}"] if card.control else []
    return f"{card.label}: {card.value}" + (f" ({'; '.join(beside)})" if beside else "")
