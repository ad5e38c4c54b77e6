"""`projlens_core respond`: what base and suspect answer about an image, without and with a trigger."""

import argparse
import sys
from pathlib import Path

from projlens_core.cli import arguments, terminal
from projlens_core.cli.twins import chosen_trigger, twins
from projlens_core.evidence.case import read_projectors
from projlens_core.inputs.images import ImageSet, load
from projlens_core.sources import Source, resolve


def add_parser(sub: argparse._SubParsersAction) -> None:
    """Add this command to the command line."""
    parser = sub.add_parser("respond", help="ask base and suspect about an image, without and with a trigger")
    arguments.add_case(parser, control=False, suspect_required=False)
    parser.add_argument("--image", required=True, type=Path, metavar="FILE", help="a clean image")
    parser.add_argument("--prompt", required=True, metavar="TEXT", help="the question")
    arguments.add_trigger(parser, optional=True)
    arguments.add_answers(parser)
    arguments.add_device(parser)
    arguments.add_json(parser, "trigger and settings")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Ask up to four times and write the answers."""
    # Only here: transformers takes seconds to import, which the other commands need not wait for.
    from projlens_core.behaviour.respond import four_answers, load_responder
    from projlens_core.behaviour.templates import notes

    terminal.quiet_transformers()
    report = terminal.progress()
    sources = [resolve(spec) for spec in (args.base, args.suspect) if spec]
    spec = None if args.no_trigger else chosen_trigger(args.trigger, sources[-1])
    pair = twins(ImageSet((load(args.image),), ()), spec)
    base, *suspect = read_projectors([source.spec for source in sources], report)
    responder = load_responder(whole_model(sources), args.device, report)
    found = four_answers(
        responder,
        base,
        suspect[0] if suspect else None,
        pair.clean[0],
        pair.triggered[0] if pair.triggered else None,
        args.prompt,
        args.max_new_tokens,
        report,
    )
    answers = {
        "base": {"clean": found.base_clean, "triggered": found.base_triggered},
        "suspect": {"clean": found.suspect_clean, "triggered": found.suspect_triggered},
    }
    asked = {
        model: {condition: text for condition, text in said.items() if text is not None}
        for model, said in answers.items()
        if any(text is not None for text in said.values())
    }
    if args.json:
        trigger = spec.to_dict() if spec else None
        terminal.write_json(
            {"image": pair.names[0], "prompt": args.prompt, "trigger": trigger, "max_new_tokens": args.max_new_tokens}
            | {"chat_template": found.template.as_data(), "answers": asked}
        )
        return
    for model, said in asked.items():
        for condition, text in said.items():
            sys.stdout.write(f"{model}, {condition}: {text}\n")
    for note in notes([found.template]):
        sys.stdout.write(f"- {note}\n")


def whole_model(sources: list[Source]) -> Source:
    """The first that is more than a lone projector file; the first of all, if none is, which then says so."""
    return next((source for source in sources if source.model), sources[0])
