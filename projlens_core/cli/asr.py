"""`projlens_core asr`: how often a backdoor fires with and without its trigger, and what the model still gets right."""

import argparse
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from projlens_core.cases.case import Case, read_projectors
from projlens_core.cases.whose import BOTH
from projlens_core.cli import arguments, terminal
from projlens_core.cli.attack import add_attack, attack
from projlens_core.cli.twins import twins
from projlens_core.inputs.images import load_folder
from projlens_core.sources import resolve

if TYPE_CHECKING:
    from projlens_core.behaviour.success import Outcome
from projlens_core.stats.rate import Rate


def add_parser(sub: argparse._SubParsersAction) -> None:
    """Add this command to the command line."""
    parser = sub.add_parser("asr", help="measure attack success rate and clean utility")
    arguments.add_case(parser, control=False)
    arguments.add_projector_only(parser)
    arguments.add_images(parser, note="; labels.csv gives utility")
    add_attack(parser)
    arguments.add_answers(parser)
    arguments.add_device(parser)
    arguments.add_json(parser, "every answer")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Ask base and suspect about every image and write the rates."""
    sources = [resolve(args.base), resolve(args.suspect)]
    looked_for = attack(args, sources[1])

    # Only here: transformers takes seconds to import, which the other commands need not wait for.
    from projlens_core.behaviour.questions import one_prompt_each
    from projlens_core.behaviour.success import measure, read_labels
    from projlens_core.behaviour.templates import notes
    from projlens_core.cases.models import Loaded

    terminal.quiet_transformers()
    report = terminal.progress()
    pair = twins(load_folder(args.images, args.limit), looked_for.spec)
    truths = read_labels(args.images) or {}
    asked = one_prompt_each(looked_for.questions, pair.names, truths)
    case, models, outcomes = Case(args.base, args.suspect, None, args.projector_only), Loaded(args.device), {}
    projectors = read_projectors(list(case.specs.values()), report)
    found = models.whose(case, BOTH, report)
    for role, projector in zip(case.specs, projectors, strict=True):
        with models.responder(case, report, role) as responder:
            outcomes[role] = measure(
                responder,
                projector,
                pair.clean,
                pair.triggered,
                asked,
                looked_for.target,
                truths,
                pair.names,
                args.max_new_tokens,
                terminal.prefixed(report, role),
            )
    if args.json:
        document = {role: _as_dict(outcome) for role, outcome in outcomes.items()}
        document |= {"target": looked_for.target, "trigger": looked_for.spec.to_dict()}
        document["max_new_tokens"] = args.max_new_tokens
        document["parts"] = found.parts()
        document["failures"] = terminal.left_out(pair.failures)
        terminal.write_json(document)
        return
    for role, outcome in outcomes.items():
        sys.stdout.write(f"{role}\n{_as_text(outcome)}")
    sys.stdout.writelines(f"- {sentence}\n" for sentence in found.sentences)
    for note in notes(outcome.template for outcome in outcomes.values()):
        sys.stdout.write(f"- {note}\n")
    for _, reason in pair.failures:
        sys.stdout.write(f"left out: {reason}\n")


def _as_dict(outcome: "Outcome") -> dict:
    return {
        "chat_template": outcome.template.as_data() if outcome.template else None,
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
