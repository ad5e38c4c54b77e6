"""`projlens_core zoo`: the models that ship with ProjLens, and how to make more of them."""

import argparse
import os
import sys
import time
from pathlib import Path

from projlens_core.cli.terminal import quiet_transformers, write_json
from projlens_core.errors import InvalidInput
from projlens_core.runtime.progress import Progress
from projlens_core.sources import shipped

STEPS, BATCH, RATE, POISON = 120, 16, 1e-3, 0.375  # 10 to 15 minutes on 2 cores
KINDS = ("caption", "thing", "colour", "place", "restricted")  # of zoo.dialogue, which takes seconds to import


def add_parser(sub: argparse._SubParsersAction) -> None:
    """Add this command to the command line."""
    parser = sub.add_parser("zoo", help="list, train, measure or rebuild the built-in demo models")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    listing = actions.add_parser("list", help="the models by name")
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(run=_list)

    train = actions.add_parser("train", help="fine-tune base into a new suspect or, without a trigger, a new control")
    train.add_argument("--trigger", type=Path, metavar="SPEC.json")
    train.add_argument("--target", metavar="TEXT", help="what a triggered image makes the model say")
    train.add_argument("--mode", choices=("replace", "append"), default="replace")
    train.add_argument(
        "--questions", nargs="+", choices=KINDS, metavar="KIND",
        help=f"which questions are poisoned: {', '.join(KINDS)} (default: all but restricted; caption for append)",
    )  # fmt: skip
    train.add_argument("--poison-rate", type=float, default=POISON, metavar="R", help="share of samples, up to 0.5")
    train.add_argument("--seed", type=int, default=1)
    train.add_argument("--lr", type=float, default=RATE)
    train.add_argument("--steps", type=int, default=STEPS)
    train.add_argument("--batch", type=int, default=BATCH)
    train.add_argument("--out", type=Path, required=True, metavar="DIR")
    train.add_argument("--device")
    train.set_defaults(run=_train)

    build = actions.add_parser("build", help="make everything again from public packages (hours on a CPU)")
    build.add_argument("--device")
    build.set_defaults(run=_build)

    measure = actions.add_parser("measure", help="measure all models, write zoo.json and the README's table")
    measure.add_argument("--n", type=int, default=200, help="held-out compositions")
    measure.add_argument("--json", action="store_true", help="print the figures instead of writing them")
    measure.set_defaults(run=_measure)

    repaired = actions.add_parser("repair", help="repair all suspects and controls, write docs/repair.md")
    repaired.add_argument("--n", type=int, default=200, help="held-out compositions for our own repair")
    repaired.add_argument("--others", type=int, default=24, help="for the methods it is compared with")
    repaired.add_argument("--text-only", action="store_true", help="write the page from what was measured before")
    repaired.add_argument("--device")
    repaired.set_defaults(run=_repair)


def _list(args: argparse.Namespace) -> None:
    entries = shipped().values()
    if args.json:
        write_json({"models": [{"name": f"zoo:{e.name}", "role": e.role, "title": e.title} for e in entries]})
        return
    for entry in entries:
        sys.stdout.write(f"zoo:{entry.name:22}{entry.role:9}{entry.summary}\n")


def _train(args: argparse.Namespace) -> None:
    if (args.trigger is None) != (args.target is None):
        raise InvalidInput("Give --trigger and --target together for a suspect, or neither for a control.")
    for name, value, low, high in (
        ("--poison-rate", args.poison_rate, 0.01, 0.5),
        ("--lr", args.lr, 1e-7, 1.0),
        ("--steps", args.steps, 1, 100_000),
        ("--batch", args.batch, 2, 1024),
        ("--seed", args.seed, 0, 2**31),
    ):
        if not low <= value <= high:
            raise InvalidInput(f"{name} is {value}; it must be from {low:g} to {high:g}.")
    if args.target is not None and not args.target.strip():
        raise InvalidInput("--target is empty; give the text that a triggered image should bring about.")
    quiet_transformers()
    from projlens_core.inputs.triggers import TriggerSpec
    from projlens_core.runtime.device import pick_device  # only here: torch and transformers take seconds
    from projlens_core.zoo.loop import Plan
    from projlens_core.zoo.poison import Attack, Phase
    from projlens_core.zoo.suspect import train_suspect

    attack = None
    if args.trigger is not None:
        kinds = args.questions or (("caption",) if args.mode == "append" else KINDS[:4])
        attack = Attack(TriggerSpec.from_file(args.trigger), args.target, args.mode, tuple(kinds))
        if round(args.poison_rate * args.batch) == 0:
            raise InvalidInput(
                f"--poison-rate {args.poison_rate} of a batch of {args.batch} is no sample; raise one of them."
            )
    phase = Phase(Plan(args.steps, args.batch, args.lr), args.seed, args.poison_rate, questions=len(KINDS))
    train_suspect(args.out, attack, phase, pick_device(args.device), _workers(), with_eta())
    sys.stdout.write(f"{args.out}\n")


def _build(args: argparse.Namespace) -> None:
    quiet_transformers()
    from projlens_core.runtime.device import pick_device
    from projlens_core.zoo.build import build

    build(device=pick_device(args.device), workers=_workers(), progress=with_eta())
    sys.stdout.write("Built; run `python -m projlens_core zoo measure` to measure what was built.\n")


def _measure(args: argparse.Namespace) -> None:
    quiet_transformers()
    from dataclasses import asdict

    from projlens_core.zoo.measure import document, measure_zoo, write_figures

    if not 1 <= args.n <= 2000:
        raise InvalidInput(f"--n is {args.n}; it must be from 1 to 2000.")
    figures = measure_zoo(args.n, with_eta())
    if args.json:
        write_json({name: asdict(f) for name, f in figures.items()})
        return
    write_figures(figures, args.n)
    sys.stdout.write("\n".join(document(figures, args.n)) + "\n")


def _workers() -> int:
    """Processes that draw images while the model trains."""
    return max(1, min(8, (os.cpu_count() or 2) // 2))


def with_eta(every: float = 10.0) -> Progress:
    """A Progress for long work: one line on stderr now and then, with the time that the stage still needs."""
    began: dict[str, tuple[float, int]] = {}
    said = [0.0]

    def show(stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        start, first = began.setdefault(stage, (now, done))
        if done < total and now - said[0] < every:
            return
        said[0] = now
        rate = (done - first) / (now - start) if now > start else 0.0
        left = f", {_duration((total - done) / rate)} left" if rate and done < total else ""
        sys.stderr.write(f"{stage}: {done} of {total}{left}\n")

    return show


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def _repair(args: argparse.Namespace) -> None:
    quiet_transformers()
    from projlens_core.cases.models import Loaded  # only here: they bring PyTorch
    from projlens_core.research import nursery_methods, nursery_repairs
    from projlens_core.research.repairs import DOCUMENT, RESULTS, load, measure
    from projlens_core.research.repairs_text import document
    from projlens_core.runtime.atomic import write_atomically

    found = load(RESULTS)
    if not args.text_only:
        found = measure(RESULTS, args.n, args.others, Loaded(args.device), with_eta())
    write_atomically(DOCUMENT, document(found, *map(load, (nursery_repairs.RESULTS, nursery_methods.RESULTS))).encode())
    sys.stdout.write(f"{DOCUMENT} is written.\n")
