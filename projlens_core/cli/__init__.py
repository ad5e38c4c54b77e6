"""The command line: `projlens COMMAND`, or `python -m projlens_core COMMAND`.

An analysis brings its command with it (see derived); the other commands have a module each, with `add_parser` and
`run`.

Exit code 0: done. 1: failed, one sentence on stderr. 2: wrong use (argparse says what). 3: done, and what --fail-on
names was found. 141: who read the output has gone.
"""

import argparse
import sys
from importlib import import_module

from projlens_core import analyses
from projlens_core.cli.terminal import BROKEN_PIPE, discard_output, standard_output
from projlens_core.errors import ProjLensError
from projlens_core.runtime.text import visible
from projlens_core.runtime.versions import PROJLENS

# Commands that no record brings with it: those that work on something else than an analysis of a case.
BY_HAND = (
    "respond",
    "repair",
    "report",
    "findings",
    "trigger",
    "zoo",
    "dashboard",
    "nursery",
    "screen",
)


def commands() -> tuple[str, ...]:
    """The names of all commands, those of analyses first."""
    return (*analyses.KEYS, *BY_HAND)


def command_of(words: list[str]) -> str | None:
    """The command that they begin with, by its name of today; None if they begin with none."""
    name = words[0] if words else ""
    if name in commands():
        return name
    analysis = analyses.of_command(name)
    return None if analysis is None else analysis.key


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
    argv = sys.argv[1:] if argv is None else argv
    try:
        with standard_output():
            return _run(argv)
    except ProjLensError as error:
        _say(str(error))
    except KeyboardInterrupt:
        _say("Stopped; what was finished is kept.")
    except BrokenPipeError:
        discard_output()
        return BROKEN_PIPE
    return 1


def _run(argv: list[str]) -> int:
    from projlens_core.runtime import allocator, cache, paths, shortage  # only here: an interrupt meanwhile is heard

    allocator.give_back_large()
    command = command_of(argv)
    if command == "case":
        allocator.wait_asleep()
    args = parser(command).parse_args(argv)
    paths.cache_dir()  # says what is wrong with it before anything is computed
    with shortage.named():
        code = args.run(args)
    if trouble := cache.trouble():
        _say(trouble)
    return code or 0


def _say(sentence: str) -> None:
    """One sentence to whoever reads standard error, if anybody does."""
    if sys.stderr is not None:
        sys.stderr.write(f"{visible(sentence, sys.stderr.encoding or 'utf-8')}\n")
