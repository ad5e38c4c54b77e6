"""`projlens repair`: a suspect without its backdoor, in its own form, and what a confirmation shows; or --verify."""

import argparse
import sys
from pathlib import Path

from projlens_core.analyses.repair import RepairOptions
from projlens_core.cli import arguments, terminal
from projlens_core.errors import InvalidInput


def add_parser(sub: argparse._SubParsersAction) -> None:
    """Add this command to the command line."""
    parser = sub.add_parser("repair", help="remove a backdoor from a suspect without knowing its trigger")
    parser.add_argument("--base", metavar="MODEL", help="folder, file, zoo:NAME or hub:OWNER/NAME")
    parser.add_argument("--suspect", metavar="MODEL", help="the model to repair: a folder, a file or zoo:NAME")
    parser.add_argument("--control", metavar="MODEL", help="a clean fine-tune of the base, named like --base")
    arguments.add_projector_only(parser)
    arguments.add_images(parser, note=", 100 or more if possible; labels.csv in it gives clean utility")
    parser.add_argument(
        "--trigger", metavar="SPEC.json", help="a known trigger; a zoo suspect's own is not used unless given here"
    )
    parser.add_argument("--target", default="", metavar="TEXT", help="what it makes the model say, if known")
    parser.add_argument("--prompt", action="append", metavar="TEXT", help="question; repeat for several")
    parser.add_argument(
        "--budget",
        type=float,
        default=5.0,
        metavar="MIN",
        help="minutes; no stage is begun that would probably end later; 5 by default",
    )
    parser.add_argument("--no-search", action="store_true", help="do not search for triggers, before or after")
    parser.add_argument("--precaution", action="store_true", help="repair even where the search finds nothing")
    parser.add_argument(
        "--bank", default="", metavar="FILE", help="a JSON list of generic triggers to use instead of the built-in ones"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of all random choices; 0 by default")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the repaired suspect is written")
    parser.add_argument("--verify", type=Path, metavar="DIR", help="only check a folder that this command wrote")
    arguments.add_device(parser)
    arguments.add_json(parser, "every round and rate")
    parser.set_defaults(run=run, wrong_use=parser.error)


def run(args: argparse.Namespace) -> None:
    """Repair, confirm and write; or verify."""
    if args.verify is not None:
        _verify(args)
        return
    if missing := [f"--{name}" for name in ("base", "suspect", "out") if getattr(args, name) is None]:
        args.wrong_use(f"{', '.join(missing)} required, unless --verify is given")
    options = RepairOptions(
        prompts=tuple(args.prompt or ()), target=args.target, bank=args.bank, budget=args.budget,
        search=not args.no_search, precaution=args.precaution, seed=args.seed,
    )  # fmt: skip
    # only here: transformers takes seconds to import, which the other commands need not wait for
    from projlens_core.analyses.context import AnalysisContext, AnalysisInputs
    from projlens_core.analyses.repair import repair_case, sidecar_of
    from projlens_core.analyses.repair.exhibit import repair
    from projlens_core.behaviour.success import read_labels
    from projlens_core.cases.case import Case
    from projlens_core.cases.models import Loaded
    from projlens_core.inputs.images import load_folder
    from projlens_core.inputs.triggers import TriggerSpec
    from projlens_core.repair.form import form_of
    from projlens_core.repair.writer import check_free, write_repaired
    from projlens_core.report.private import abbreviated
    from projlens_core.sources import resolve

    terminal.quiet_transformers()
    check_free(args.out, form_of(resolve(args.suspect), resolve(args.base)))  # before minutes are spent
    folder = arguments.images_folder(args.images)
    trigger = TriggerSpec.from_file(Path(args.trigger)) if args.trigger else None
    case = Case(args.base, args.suspect, args.control, args.projector_only)
    images = load_folder(folder, args.limit)
    context = AnalysisContext(
        AnalysisInputs(case, images, read_labels(folder)), Loaded(args.device), terminal.progress()
    )
    done = repair_case(context, trigger, options)
    settings = context.decided(
        folder=str(args.images or "samples of ProjLens"),
        seed=args.seed,
        trigger=trigger.to_dict() if trigger else None,
        bank=args.bank or None,
    )
    exhibit = repair(done, settings)
    sidecar = write_repaired(
        done.problem.form, done.problem.suspect, done.result.weights, args.out, abbreviated(sidecar_of(done, exhibit))
    )
    if args.json:
        terminal.write_json(exhibit.data | {"written": str(args.out), "failures": terminal.left_out(images.failures)})
        return
    lines = [exhibit.data["sentence"], "", *(card.line for card in exhibit.metrics), ""]
    lines += [f"- {note}" for note in exhibit.notes[1:]]
    if args.images is None:
        lines.append(f"- {arguments.OWN_SAMPLES}")
    lines += [f"left out: {reason}" for _, reason in images.failures]
    lines.append(f"Written to {args.out}, with {sidecar.name}; check it with --verify {args.out}.")
    sys.stdout.write("\n".join(lines) + "\n")


def _verify(args: argparse.Namespace) -> None:
    from projlens_core.repair.verify import verify

    found = verify(args.verify, args.base, args.suspect)
    if args.json:
        checks = [vars(check) for check in found.checks]
        terminal.write_json({"holds": found.holds, "checks": checks, "sentence": found.sidecar.get("sentence")})
    else:
        for check in found.checks:
            state = {True: "holds", False: "FAILS", None: "not compared"}[check.holds]
            sys.stdout.write(f"{state:13}{check.what}: {check.found}\n")
    if not found.holds:
        raise InvalidInput(f"{args.verify} is not what its sidecar says; repair the suspect again.")
