"""The attack that a command about answers looks for: trigger, target and questions, a zoo suspect's own by default."""

import argparse
from dataclasses import dataclass

from projlens_core.cli import arguments
from projlens_core.cli.twins import chosen_trigger
from projlens_core.inputs.triggers import TriggerSpec
from projlens_core.sources import Source


@dataclass(frozen=True)
class Attack:
    """What is stamped, what the backdoor then says, and what is asked; mode is that of ZooEntry, None if unknown."""

    spec: TriggerSpec
    target: str
    questions: tuple[str, ...]
    mode: str | None


def add_attack(parser: argparse.ArgumentParser) -> None:
    """--trigger, --target and --prompt; see `attack`."""
    arguments.add_trigger(parser)
    arguments.add_target(parser)
    arguments.add_questions(parser)
    parser.set_defaults(wrong_use=parser.error)


def attack(args: argparse.Namespace, suspect: Source) -> Attack:
    """What the arguments say, else the zoo suspect's own; wrong use, if there is neither."""
    zoo = suspect.zoo
    spec = chosen_trigger(args.trigger, suspect)
    target = args.target or (zoo.target if zoo else None)
    if spec is None or target is None:
        args.wrong_use("--trigger and --target are required, unless the suspect is a poisoned model of the zoo")
    mode = zoo.mode if zoo and target == zoo.target else None
    return Attack(spec, target, tuple(args.prompt or (zoo.prompts if zoo else ())), mode)
