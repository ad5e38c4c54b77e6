"""The command of an analysis, derived from its record: flags from what it needs and from its Options."""

import argparse
import dataclasses
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

from projlens_core.analyses.analysis import Analysis, Options
from projlens_core.cli import arguments, terminal
from projlens_core.errors import InvalidInput
from projlens_core.sources import resolve

if TYPE_CHECKING:
    from projlens_core.analyses.context import AnalysisInputs

FURTHER = "further"  # the option that --suspect, given several times, fills


def add_parser(sub: argparse._SubParsersAction, analysis: Analysis) -> None:
    """Add the command of `analysis` to the command line."""
    parser = sub.add_parser(analysis.key, aliases=analysis.commands, help=analysis.summary)
    flags = dataclasses.fields(analysis.options)
    arguments.add_case(parser, many=any(each.name == FURTHER for each in flags))
    if analysis.takes:
        arguments.add_projector_only(parser)
        arguments.add_images(
            parser, note="; labels.csv in it gives clean utility" if "questions" in analysis.takes else ""
        )
    if "trigger" in analysis.takes:
        arguments.add_trigger(parser, optional=not analysis.needs_trigger)
    if "target" in analysis.takes:
        arguments.add_target(parser)
    if "questions" in analysis.takes:
        arguments.add_questions(parser)
        arguments.add_answers(parser)
    for each in flags:
        if each.name != FURTHER:
            _add_option(parser, each)
    if analysis.takes:
        arguments.add_device(parser)
    arguments.add_json(parser, analysis.json)
    arguments.add_csv(parser, analysis.csv)
    parser.set_defaults(run=lambda args: run(args, analysis), wrong_use=parser.error)
    if analysis.limit is not None:
        parser.set_defaults(limit=analysis.limit)


def run(args: argparse.Namespace, analysis: Analysis) -> int:
    """Do the analysis on what the arguments name, write what it found, and return the exit code."""
    options = options_of(args, analysis)
    # only here: an interrupt meanwhile is heard
    from projlens_core.analyses.context import AnalysisContext
    from projlens_core.cases.models import Loaded

    if analysis.takes:
        terminal.quiet_transformers()
    inputs = _inputs(args, analysis)
    _check(args, analysis, inputs, options)
    context = AnalysisContext(inputs, Loaded(getattr(args, "device", None)), terminal.progress())
    context.finished_stage = terminal.say
    result = analysis.measured(context, options)
    failures = context.images.failures if analysis.takes else ()
    exhibit = cache(lambda: analysis.shown(result, context, options))
    document, lines = analysis.output(result, context, options, exhibit)
    lines += [f"left out: {reason}" for _, reason in failures]
    if analysis.takes and args.images is None and resolve(inputs.case.suspect).zoo is None:
        lines.append(arguments.OWN_SAMPLES)
    if analysis.takes:
        document = document | {"failures": terminal.left_out(failures)}
    if args.csv:
        terminal.write_csv(exhibit().tables[analysis.table], args.csv)
    if args.json:
        terminal.write_json(document)
    else:
        sys.stdout.write("\n".join(lines).rstrip() + "\n")
    return 0 if analysis.exit_code is None else analysis.exit_code(exhibit(), options)


def _inputs(args: argparse.Namespace, analysis: Analysis) -> "AnalysisInputs":
    """What the arguments name; what they do not is the zoo suspect's own."""
    from projlens_core.analyses.context import AnalysisInputs, chosen_trigger, inputs_taken
    from projlens_core.cases.case import Case

    first, *_ = args.suspect if isinstance(args.suspect, list) else [args.suspect]
    if not analysis.takes:
        return AnalysisInputs(Case(args.base, first, args.control))
    from projlens_core.behaviour.success import read_labels
    from projlens_core.inputs.images import load_folder

    case = Case(args.base, first, args.control, args.projector_only)
    untold = "trigger" not in analysis.takes or args.no_trigger
    spec = None if untold else chosen_trigger(args.trigger, first)
    folder = arguments.images_folder(args.images)
    return inputs_taken(analysis.takes, case, (load_folder(folder, args.limit), read_labels(folder)), spec, vars(args))


def _check(args: argparse.Namespace, analysis: Analysis, inputs: "AnalysisInputs", options: Options) -> None:
    """Wrong use, or InvalidInput, where something is missing that the analysis needs."""
    if analysis.needs_target and (inputs.spec is None or inputs.target is None):
        args.wrong_use("--trigger and --target are required, unless the suspect is a poisoned model of the zoo")
    if analysis.wrong is not None and (reason := analysis.wrong(inputs, options)):
        args.wrong_use(reason)
    if analysis.needs_trigger and inputs.spec is None:
        raise InvalidInput(f"{analysis.title} compares clean with triggered images: give --trigger SPEC.json.")


def options_of(args: argparse.Namespace, analysis: Analysis) -> Options:
    """The options that the flags set; InvalidInput for one out of bounds."""
    given = {
        each.name: getattr(args, each.name) for each in dataclasses.fields(analysis.options) if each.name != FURTHER
    }
    if isinstance(args.suspect, list):
        given[FURTHER] = args.suspect[1:]
    return analysis.options(**{name: tuple(v) if isinstance(v, list) else v for name, v in given.items()})


def _add_option(parser: argparse.ArgumentParser, each: dataclasses.Field) -> None:
    flag, about = f"--{each.name.replace('_', '-')}", each.metadata
    default: Any = each.default
    if isinstance(default, bool):
        parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=default, help=about["help"])
        return
    several, kind = isinstance(default, tuple), about["kind"]
    low, unset = about["low"], default in ((), "")
    parser.add_argument(
        flag,
        type=arguments.at_least(low) if kind is int and low is not None else kind,
        nargs="+" if several else None,
        default=list(default) if several else default,
        choices=about["choices"] and [choice for choice in about["choices"] if choice != ""],
        metavar=None if about["choices"] else "TEXT" if kind is str else "N",
        help=about["help"] if unset else f"{about['help']}; {_shown(default)} by default",
    )


def _shown(default: object) -> str:
    return (
        " ".join(map(_shown, default))
        if isinstance(default, tuple)
        else format(default, "g" if isinstance(default, float) else "")
    )
