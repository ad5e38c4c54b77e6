"""The command line: `python -m projlens_core COMMAND`. One module per command, each with `add_parser` and `run`.

Exit code 0: done. 1: failed, one sentence on stderr. 2: wrong use (argparse says what).
"""

import argparse
import sys

from projlens_core.cli import (
    activations,
    asr,
    lens,
    lowrank,
    neurons,
    report,
    respond,
    robustness,
    separability,
    shift,
    trigger,
    weights,
    zoo,
)
from projlens_core.errors import ProjLensError

COMMANDS = (
    weights,
    activations,
    shift,
    lens,
    separability,
    neurons,
    respond,
    asr,
    lowrank,
    robustness,
    report,
    trigger,
    zoo,
)


def parser() -> argparse.ArgumentParser:
    """The parser with all commands."""
    top = argparse.ArgumentParser(prog="projlens_core", description="Find projector backdoors in multimodal LLMs.")
    sub = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(sub)
    return top


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    args = parser().parse_args(argv)
    try:
        args.run(args)
    except ProjLensError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("Stopped; what was finished is kept.\n")
        return 1
    return 0
