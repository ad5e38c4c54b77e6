"""The command of an analysis, derived from its record: flags from what it needs and from its Options."""

import argparse
import dataclasses

from projlens_core.analyses.analysis import Analysis, Options
from projlens_core.cli import arguments, exhibited, terminal
from projlens_core.errors import InvalidInput


def add_parser(sub: argparse._SubParsersAction, analysis: Analysis) -> None:
    """Add the command of `analysis` to the command line."""
    parser = sub.add_parser(analysis.key, help=analysis.summary)
    arguments.add_case(parser)
    arguments.add_projector_only(parser)
    arguments.add_images(parser)
    arguments.add_trigger(parser, optional=not analysis.needs_trigger)
    for each in dataclasses.fields(analysis.options):
        _add_option(parser, each)
    arguments.add_device(parser)
    arguments.add_json(parser, analysis.json)
    arguments.add_csv(parser, analysis.csv)
    parser.set_defaults(run=lambda args: run(args, analysis))


def run(args: argparse.Namespace, analysis: Analysis) -> None:
    """Do the analysis on a folder's images and write what it found."""
    options = options_of(args, analysis)
    # only here: transformers takes seconds to import, which the other commands need not wait for
    from projlens_core.analyses.context import AnalysisContext, AnalysisInputs
    from projlens_core.behaviour.success import read_labels
    from projlens_core.cases.case import Case
    from projlens_core.cases.models import Loaded
    from projlens_core.cli.twins import chosen_trigger
    from projlens_core.inputs.images import load_folder
    from projlens_core.sources import resolve

    terminal.quiet_transformers()
    spec = None if args.no_trigger else chosen_trigger(args.trigger, resolve(args.suspect))
    if spec is None and analysis.needs_trigger:
        raise InvalidInput(f"{analysis.title} compares clean with triggered images: give --trigger SPEC.json.")
    case = Case(args.base, args.suspect, args.control, args.projector_only)
    inputs = AnalysisInputs(case, load_folder(args.images, args.limit), read_labels(args.images), spec)
    context = AnalysisContext(inputs, Loaded(args.device), terminal.progress())
    exhibit, failures = analysis.run(context, options), context.pictures.failures
    lines = [*analysis.text(exhibit), *exhibited.ending(exhibit, failures)]
    exhibited.write(exhibit, args, failures, "\n".join(lines).rstrip() + "\n", analysis.table)


def options_of(args: argparse.Namespace, analysis: Analysis) -> Options:
    """The options that the flags set; InvalidInput for one out of bounds."""
    given = {each.name: getattr(args, each.name) for each in dataclasses.fields(analysis.options)}
    return analysis.options(**{name: tuple(v) if isinstance(v, list) else v for name, v in given.items()})


def _add_option(parser: argparse.ArgumentParser, each: dataclasses.Field) -> None:
    flag, about = f"--{each.name.replace('_', '-')}", each.metadata
    if isinstance(each.default, bool):
        parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=each.default, help=about["help"])
        return
    several = isinstance(each.default, tuple)
    parser.add_argument(
        flag,
        type=type(each.default[0]) if several and each.default else str if several else type(each.default),
        nargs="+" if several else None,
        default=list(each.default) if several else each.default,
        choices=about["choices"],
        metavar=None if about["choices"] else "N" if isinstance(each.default, int | float) else "TEXT",
        help=about["help"] if each.default in ((), "") else f"{about['help']}; {each.default} by default",
    )
