"""`projlens_core nursery`: many tiny models, honest and poisoned, whose truth is known."""

import argparse
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from projlens_core.cli.terminal import quiet_transformers, write_json
from projlens_core.cli.zoo import with_eta

if TYPE_CHECKING:
    from projlens_core.nursery.recipe import Recipe
    from projlens_core.nursery.source import Source

OUT = Path("nursery-out")
BUILT_PARTS = "fresh", "test", "novel"  # nursery.recipe.BUILT, without loading it


def add_parser(sub: argparse._SubParsersAction) -> None:
    """Add this command to the command line."""
    parser = sub.add_parser("nursery", help="plan, build or list the models on which error rates are measured")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    plan = actions.add_parser("plan", help="write the plan of all members: who learns what, which part is sealed")
    plan.add_argument("--out", type=Path, metavar="FILE", help="default: the plan that ships")
    plan.set_defaults(run=_plan)

    base = actions.add_parser("base", help="train the base model of all members (an hour on one core)")
    base.add_argument("--out", type=Path, default=OUT, metavar="DIR", help="images and training state")
    base.set_defaults(run=_base)

    build = actions.add_parser("build", help="train the members that are not trained yet; can be stopped at any time")
    build.add_argument("--out", type=Path, default=OUT, metavar="DIR", help="images, members and training state")
    build.add_argument("--only", nargs="+", default=(), metavar="NAME", help="names or patterns such as 'dev-00*'")
    _add_population(build)
    build.set_defaults(run=_build)

    ablation = actions.add_parser(
        "ablation", help="train pairs in which the activation mechanism appears or not, for docs/findings.md"
    )
    ablation.add_argument("--out", type=Path, default=OUT, metavar="DIR", help="images, members and training state")
    ablation.set_defaults(run=_ablation)

    listing = actions.add_parser("list", help="list the members: what each is, and how well it does")
    listing.add_argument("--out", type=Path, metavar="DIR", help="where they were built; default: those that ship")
    listing.add_argument("--json", action="store_true")
    _add_population(listing)
    listing.set_defaults(run=_list)

    write = actions.add_parser("write", help="write base as a checkpoint, or a member as a suspect, for other commands")
    write.add_argument(
        "name", metavar="NAME", help="base, a member's name, or all: base, members, and a list of them to screen"
    )
    write.add_argument("folder", type=Path, metavar="FOLDER")
    write.add_argument("--out", type=Path, metavar="DIR", help="where it was built; default: those that ship")
    _add_population(write)
    write.set_defaults(run=_write)

    repaired = actions.add_parser("repair", help="repair members without their triggers, write docs/repair.md")
    repaired.add_argument("--out", type=Path, default=OUT, metavar="DIR", help="images, and members if it holds any")
    repaired.add_argument("--only", nargs="+", default=(), metavar="NAME", help="names or patterns such as 'sealed-*'")
    repaired.add_argument("--honest", type=int, metavar="N", help="only the first N of the honest members")
    repaired.set_defaults(run=_repair)


def _add_population(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--smollm2", action="store_true", help="of the second population, on the demo models' base")
    which.add_argument("--part", choices=BUILT_PARTS, help="of a part that was planned when the verdict's rules stood")


def _plan(args: argparse.Namespace) -> None:
    from collections import Counter

    from projlens_core.nursery.plan import PLAN, make_plan, write_plan

    recipes = make_plan()
    write_plan(recipes, args.out or PLAN)
    for (split, group, role), n in Counter((r.split, r.group, r.role) for r in recipes).items():
        sys.stdout.write(f"{split:12} {group:9} {role:9} {n:4}\n")


def _base(args: argparse.Namespace) -> None:
    quiet_transformers()
    from projlens_core.nursery.build import make_base

    found = make_base(args.out, progress=with_eta())
    for kind, share in found["by_kind"].items():
        sys.stdout.write(f"{kind:12} {share:.1%} right\n")


def _build(args: argparse.Namespace) -> None:
    quiet_transformers()
    from projlens_core.nursery.build import build

    plan, source, _ = _population(args)
    members = build(plan(), args.out, args.only, source, with_eta())
    sys.stdout.write(f"{len(members)} members in {args.out / 'members'}\n")


def _ablation(args: argparse.Namespace) -> None:
    quiet_transformers()
    from projlens_core.research.mechanism import RESULTS, measure

    measure(args.out, progress=with_eta())
    sys.stdout.write(f"{RESULTS} is written; `projlens findings --text-only` writes docs/findings.md.\n")


def _list(args: argparse.Namespace) -> None:
    from projlens_core.nursery.members import read_members, status

    make_plan, _, folder = _population(args)
    plan, members = make_plan(), read_members(folder)
    found = status(members, plan)
    rows = []
    for recipe in plan:
        row = recipe.to_dict() | {"is": found[recipe.name]}
        if (member := members.get(recipe.name)) is not None:
            row |= {"figures": member.figures, "seconds": member.seconds}
        rows.append(row)
    if args.json:
        write_json({"members": rows})
        return
    for row in rows:
        sys.stdout.write(f"{row['name']:26} {row['is']:12} {_described(row)}\n")


def _described(row: dict) -> str:
    """Task, attack and figures in a line."""
    form = "full" if row["rank"] is None else f"rank {row['rank']}"
    said = [row["task"]["kind"], form, f"{row['steps']} steps"]
    if row["attack"]:
        said += [row["attack"]["family"], row["attack"]["mode"], f"{row['attack']['poison']:.0%} poison"]
    if row["evasion"]:
        said.append(row["evasion"])
    if figures := row.get("figures"):
        said.append(f"{figures['utility']:.1%} right")
        if figures["asr"] is not None:
            said.append(f"ASR {figures['asr']:.0%}, on clean images {figures['false_target']:.0%}")
    return ", ".join(said)


def _write(args: argparse.Namespace) -> None:
    quiet_transformers()
    from projlens_core.nursery.members import write_population, write_suspect

    _, source, members = _population(args)
    match args.name:
        case "base":
            shutil.copytree(source.checkpoint(), args.folder, dirs_exist_ok=True)
        case "all":
            write_population(args.folder, members)
        case name:
            write_suspect(name, args.folder, members)
    sys.stdout.write(f"{args.folder}\n")


def _population(args: argparse.Namespace) -> "tuple[Callable[[], Sequence[Recipe]], Source, Path]":
    """What gives the plan, the base and the members, those that were built or that ship, of what is asked for."""
    from projlens_core.nursery import parts, second
    from projlens_core.nursery.members import MEMBERS
    from projlens_core.nursery.plan import read_plan
    from projlens_core.nursery.source import SMOLLM2, TINY

    plan: Callable[[], Sequence[Recipe]] = read_plan
    source: Source = TINY
    shipped = MEMBERS
    if args.smollm2:
        plan, source, shipped = second.make_plan, SMOLLM2, second.SECOND_MEMBERS
    elif args.part:
        plan, shipped = parts.PLANS[args.part], parts.FOLDERS[args.part]
    return plan, source, args.out / "members" if args.out else shipped


def _repair(args: argparse.Namespace) -> None:
    quiet_transformers()
    from projlens_core.nursery.members import MEMBERS
    from projlens_core.research import nursery_methods
    from projlens_core.research.nursery_repairs import Nursery, measure
    from projlens_core.research.repairs import DOCUMENT, RESULTS, load
    from projlens_core.research.repairs_text import document
    from projlens_core.runtime.atomic import write_atomically

    built = args.out / "members"
    progress = with_eta()
    found = measure(
        Nursery(args.out, built if built.is_dir() else MEMBERS, progress), args.only, limit=args.honest,
        progress=progress,
    )  # fmt: skip
    write_atomically(DOCUMENT, document(load(RESULTS), found, load(nursery_methods.RESULTS)).encode())
    sys.stdout.write(f"{DOCUMENT} is written.\n")
