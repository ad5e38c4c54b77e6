"""The command line: `projlens COMMAND`, or `python -m projlens_core COMMAND`.

An analysis brings its command with it (see derived); the other commands have a module each, with `add_parser` and
`run`.

Exit code 0: done. 1: failed, one sentence on stderr. 2: wrong use (argparse says what).
"""

import argparse
import sys
from importlib import import_module

from projlens_core import analyses
from projlens_core.errors import ProjLensError
from projlens_core.runtime import allocator, cache, shortage
from projlens_core.runtime.versions import PROJLENS

# Commands that no record brings with it: those that work on something else than an analysis of a case.
BY_HAND = (
    "weights",
    "spectrum",
    "activations",
    "shift",
    "lens",
    "respond",
    "asr",
    "lowrank",
    "robustness",
    "report",
    "findings",
    "trigger",
    "zoo",
    "dashboard",
)


def commands() -> tuple[str, ...]:
    """The names of all commands, those of analyses first."""
    return (*analyses.KEYS, *BY_HAND)


def parser(only: str | None = None) -> argparse.ArgumentParser:
    """The parser with all commands, or with one: its module alone is imported, as others bring slow libraries."""
    top = argparse.ArgumentParser(prog="projlens", description="Find projector backdoors in multimodal LLMs.")
    top.add_argument("--version", action="version", version=f"ProjLens {PROJLENS}")
    sub = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in commands() if only is None else (only,):
        if name in analyses.KEYS:
            import_module(f"{__name__}.derived").add_parser(sub, analyses.find(name))
        else:
            import_module(f"{__name__}.{name}").add_parser(sub)
    return top


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    allocator.give_back_large()
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["weights"]:
        allocator.wait_asleep()
    args = parser(argv[0] if argv and argv[0] in commands() else None).parse_args(argv)
    try:
        with shortage.named():
            args.run(args)
    except ProjLensError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("Stopped; what was finished is kept.\n")
        return 1
    if trouble := cache.trouble():
        sys.stderr.write(f"{trouble}\n")
    return 0
