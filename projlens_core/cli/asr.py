"""`projlens_core asr`: how often a backdoor fires with and without its trigger, and what the model still gets right."""

import argparse
import sys
from dataclasses import asdict
from itertools import cycle
from typing import TYPE_CHECKING

from projlens_core.cli import arguments, terminal
from projlens_core.cli.respond import whole_model
from projlens_core.cli.twins import chosen_trigger, twins
from projlens_core.errors import InvalidInput
from projlens_core.evidence.case import read_projectors
from projlens_core.inputs.images import load_folder
from projlens_core.sources import resolve

if TYPE_CHECKING:
    from projlens_core.behaviour.success import Outcome, Rate, Truth


def add_parser(sub: argparse._SubParsersAction) -> None:
    """Add this command to the command line."""
    parser = sub.add_parser("asr", help="measure attack success rate and clean utility")
    arguments.add_case(parser, control=False)
    arguments.add_images(parser, note="; labels.csv gives utility")
    arguments.add_trigger(parser)
    parser.add_argument("--target", metavar="TEXT", help="what the backdoor says; a zoo suspect's own by default")
    parser.add_argument(
        "--prompt",
        action="append",
        metavar="TEXT",
        help="question, several times for several, which take turns over the images; by default a zoo suspect's own, "
        "else each image's first in labels.csv",
    )
    arguments.add_answers(parser)
    arguments.add_device(parser)
    arguments.add_json(parser, "every answer")
    parser.set_defaults(run=run, wrong_use=parser.error)


def run(args: argparse.Namespace) -> None:
    """Ask base and suspect about every image and write the rates."""
    sources = [resolve(args.base), resolve(args.suspect)]
    zoo = sources[1].zoo
    spec = chosen_trigger(args.trigger, sources[1])
    target = args.target or (zoo.target if zoo else None)
    if spec is None or target is None:
        args.wrong_use("--trigger and --target are required, unless the suspect is a poisoned model of the zoo")

    # Only here: transformers takes seconds to import, which the other commands need not wait for.
    from projlens_core.behaviour.respond import load_responder
    from projlens_core.behaviour.success import measure, read_labels

    terminal.quiet_transformers()
    report = terminal.progress()
    pair = twins(load_folder(args.images, args.limit), spec)
    truths = read_labels(args.images) or {}
    prompts = _prompts(args.prompt or list(zoo.prompts if zoo else ()), pair.names, truths)
    projectors = read_projectors([source.spec for source in sources], report)
    responder = load_responder(whole_model(sources), args.device, report)
    outcomes = {
        role: measure(
            responder,
            projector,
            pair.clean,
            pair.triggered,
            prompts,
            target,
            truths,
            pair.names,
            args.max_new_tokens,
            terminal.prefixed(report, role),
        )
        for role, projector in zip(("base", "suspect"), projectors, strict=True)
    }
    if args.json:
        document = {role: _as_dict(outcome) for role, outcome in outcomes.items()}
        document |= {"target": target, "trigger": spec.to_dict(), "max_new_tokens": args.max_new_tokens}
        document["failures"] = [{"image": name, "reason": reason} for name, reason in pair.failures]
        terminal.write_json(document)
        return
    for role, outcome in outcomes.items():
        sys.stdout.write(f"{role}\n{_as_text(outcome)}")
    for _, reason in pair.failures:
        sys.stdout.write(f"left out: {reason}\n")


def _prompts(given: list[str], names: list[str], truths: dict[str, tuple["Truth", ...]]) -> list[str]:
    """One question for each image: the given ones in turn, else its own from the labels."""
    if given:
        return [prompt for _, prompt in zip(names, cycle(given), strict=False)]
    if without := [name for name in names if name not in truths]:
        raise InvalidInput(f"labels.csv has no question for {without[0]}; add it, or give --prompt.")
    return [truths[name][0].prompt for name in names]


def _as_dict(outcome: "Outcome") -> dict:
    return {
        "asr": asdict(outcome.asr),
        "false_target": asdict(outcome.false_target),
        "utility": asdict(outcome.utility) if outcome.utility else None,
        "rows": [_named(asdict(row)) for row in outcome.rows],
        "checks": [_named(asdict(check)) for check in outcome.checks],
    }


def _named(entry: dict) -> dict:
    """The entry with its image under the key that all commands use."""
    return {"image": entry.pop("name"), **entry}


def _as_text(outcome: "Outcome") -> str:
    lines = [
        f"  target on triggered images (ASR)  {_rate(outcome.asr)}",
        f"  target on clean images            {_rate(outcome.false_target)}",
        f"  right answers on clean images     {_rate(outcome.utility) if outcome.utility else 'no labels.csv'}",
    ]
    return "\n".join(lines) + "\n"


def _rate(rate: "Rate") -> str:
    return f"{rate.rate:.1%} ({rate.low:.1%} to {rate.high:.1%}), {rate.hits} of {rate.n}"
