"""`projlens_core respond`: what base and suspect answer about an image, without and with a trigger."""

import argparse
import sys
from pathlib import Path

from projlens_core.analyses.context import chosen_trigger
from projlens_core.cases.case import Case, read_projectors
from projlens_core.cases.whose import BOTH
from projlens_core.cli import arguments, terminal
from projlens_core.inputs.images import load


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
    from projlens_core.cases.models import Loaded
    from projlens_core.library.answers import ask

    terminal.quiet_transformers()
    report, models = terminal.progress(), Loaded(args.device)
    named = {role: spec for role, spec in (("base", args.base), ("suspect", args.suspect)) if spec}
    spec = chosen_trigger(False if args.no_trigger else args.trigger, args.suspect or args.base)
    image = load(args.image)
    projectors = dict(zip(named, read_projectors(list(named.values()), report), strict=True))
    case = Case(args.base, args.suspect or args.base, None, args.projector_only or not args.suspect)
    said = ask(models, case, projectors, image, args.prompt, spec, args.max_new_tokens, report)
    asked: dict[str, dict[str, str]] = {}
    for model, condition, text in said.rows:
        asked.setdefault(model, {})[condition] = text
    if args.json:
        trigger, templates = spec.to_dict() if spec else None, said.value.templates
        terminal.write_json(
            {"image": said.image, "prompt": args.prompt, "trigger": trigger, "max_new_tokens": args.max_new_tokens}
            | {"chat_template": templates["base"].as_data(), "answers": asked}
            | {"parts": models.whose(case, BOTH, report).parts(list(projectors))}
            | {"chat_templates": {role: template.as_data() for role, template in templates.items()}}
        )
        return
    sys.stdout.writelines(f"{model}, {condition}: {text}\n" for model, condition, text in said.rows)
    sys.stdout.writelines(f"- {sentence}\n" for sentence in said.notes)
