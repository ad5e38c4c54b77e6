"""`projlens_core respond`: what base and suspect answer about an image, without and with a trigger."""

import argparse
import sys
from pathlib import Path

from projlens_core.cases.case import Case, read_projectors
from projlens_core.cases.whose import BOTH
from projlens_core.cli import arguments, terminal
from projlens_core.cli.twins import chosen_trigger, twins
from projlens_core.inputs.images import ImageSet, load
from projlens_core.sources import resolve


def add_parser(sub: argparse._SubParsersAction) -> None:
    """Add this command to the command line."""
    parser = sub.add_parser("respond", help="ask base and suspect about an image, without and with a trigger")
    arguments.add_case(parser, control=False, suspect_required=False)
    arguments.add_projector_only(parser)
    parser.add_argument("--image", required=True, type=Path, metavar="FILE", help="a clean image")
    parser.add_argument("--prompt", required=True, metavar="TEXT", help="the question")
    arguments.add_trigger(parser, optional=True)
    arguments.add_answers(parser)
    arguments.add_device(parser)
    arguments.add_json(parser, "the trigger and all settings")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Ask up to four times and write the answers."""
    # Only here: transformers takes seconds to import, which the other commands need not wait for.
    from projlens_core.behaviour.respond import answers_by_role
    from projlens_core.behaviour.templates import notes
    from projlens_core.cases.models import Loaded

    terminal.quiet_transformers()
    report = terminal.progress()
    named = {role: spec for role, spec in (("base", args.base), ("suspect", args.suspect)) if spec}
    spec = None if args.no_trigger else chosen_trigger(args.trigger, resolve(args.suspect or args.base))
    pair = twins(ImageSet((load(args.image),), ()), spec)
    projectors = dict(zip(named, read_projectors(list(named.values()), report), strict=True))
    case = Case(args.base, args.suspect or args.base, None, args.projector_only or not args.suspect)
    models = Loaded(args.device)
    found = models.whose(case, BOTH, report)
    images = [pair.clean[0], *(pair.triggered or ())[:1]]
    said, templates = answers_by_role(
        {role: found.owner(role) for role in projectors},
        lambda role: models.responder(case, report, role),
        projectors,
        images,
        args.prompt,
        args.max_new_tokens,
        report,
    )
    asked = {role: dict(zip(("clean", "triggered"), texts, strict=False)) for role, texts in said.items()}
    if args.json:
        trigger = spec.to_dict() if spec else None
        terminal.write_json(
            {"image": pair.names[0], "prompt": args.prompt, "trigger": trigger, "max_new_tokens": args.max_new_tokens}
            | {"chat_template": templates["base"].as_data(), "answers": asked, "parts": found.parts(list(projectors))}
            | {"chat_templates": {role: template.as_data() for role, template in templates.items()}}
        )
        return
    for model, by_condition in asked.items():
        for condition, text in by_condition.items():
            sys.stdout.write(f"{model}, {condition}: {text}\n")
    said_besides = found.sentences if args.suspect else ()
    sys.stdout.writelines(f"- {sentence}\n" for sentence in (*said_besides, *notes(templates.values())))
