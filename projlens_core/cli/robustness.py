"""`projlens_core robustness`: which changes of the trigger still work, by shift, and by answers where asked for."""

import argparse
from typing import TYPE_CHECKING

from projlens_core.cases.settings import settings
from projlens_core.cases.whose import BOTH, signed
from projlens_core.cli import arguments, exhibited, terminal
from projlens_core.cli.attack import Attack, add_attack, attack
from projlens_core.cli.encoded import Prepared, prepare
from projlens_core.cli.twins import chosen_trigger
from projlens_core.inputs.changes import LEVELS, Change, axes_of, changes
from projlens_core.inputs.triggers import POSITIONS
from projlens_core.runtime.progress import Progress
from projlens_core.sources import resolve
from projlens_core.weights.own_parts import TOWER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from projlens_core.analyses.exhibit import Exhibit
    from projlens_core.behaviour.robustness import Tried
    from projlens_core.exhibits.robustness import Scores

OPTIONS = {  # axis → option, type of a level, what it means
    "position": ("--positions", str, f"places of a patch: {', '.join(POSITIONS)}"),
    "size": ("--sizes", float, "side of a patch, times the original's"),
    "strength": ("--strengths", float, "weight of the stamped picture against the clean one"),
    "scale": ("--scales", float, "side of the whole picture after stamping, times the original's"),
    "quality": ("--qualities", int, "JPEG qualities in which it is then saved"),
}


def add_parser(sub: argparse._SubParsersAction) -> None:
    """Add this command to the command line."""
    parser = sub.add_parser("robustness", help="try changes of the trigger: place, size, strength, resize, compression")
    arguments.add_case(parser)
    arguments.add_projector_only(parser)
    arguments.add_images(parser)
    add_attack(parser)
    for axis, (option, kind, meaning) in OPTIONS.items():
        tried = " ".join(map(str, LEVELS[axis]))
        parser.add_argument(
            option, nargs="+", type=kind, dest=axis, metavar="LEVEL", help=f"{meaning}; without any option: {tried}"
        )
    parser.add_argument("--cross", action="store_true", help="every combination of the levels, not one axis at a time")
    parser.add_argument("--asr", action="store_true", help="also ask the language model about every change tried")
    arguments.add_answers(parser)
    arguments.add_device(parser)
    arguments.add_json(parser, "every figure of every change")
    arguments.add_csv(parser, "the table of changes")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Score every change by shift, then by answers if asked for, and write what still works."""
    sources = [resolve(args.base), resolve(args.suspect)]
    looked_for = attack(args, sources[1]) if args.asr else None
    if chosen_trigger(args.trigger, sources[1]) is None:
        args.wrong_use("--trigger is required, unless the suspect is a poisoned model of the zoo")
    report = terminal.progress()
    seen = prepare(args, report, BOTH if looked_for else (TOWER,))
    given = {axis: tuple(getattr(args, axis)) for axis in OPTIONS if getattr(args, axis)}
    levels = given or {axis: LEVELS[axis] for axis in axes_of(seen.spec)}
    wanted = changes(seen.spec, levels, crossed=args.cross)

    # Only here: see encoded.
    from projlens_core.behaviour.robustness import sweep
    from projlens_core.exhibits.robustness import robustness

    pictures = seen.pictures.clean
    tried = list(sweep(seen.base, seen.suspect, seen.control, seen.vision, pictures, seen.spec, wanted, report))
    possible = [one.change for one in tried if one.pushes]
    scores = _scores(args, seen, looked_for, possible, report) if looked_for else {}
    told = settings(
        seen.case,
        seen.projectors,
        seen.spec,
        len(pictures),
        levels={axis: list(values) for axis, values in levels.items()},
        crossed=args.cross,
    )
    exhibit = signed(robustness(tried, told, scores), seen.whose)
    exhibited.write(exhibit, args, seen.pictures.failures, _as_text(tried, scores, exhibit, seen.pictures.failures))


def _scores(
    args: argparse.Namespace,
    seen: Prepared,
    looked_for: Attack,
    wanted: list[Change],
    report: Progress,
) -> "Scores":
    """The answers to every change, counted, by role."""
    from projlens_core.behaviour.questions import one_prompt_each
    from projlens_core.behaviour.robustness import attack_scores
    from projlens_core.behaviour.success import read_labels

    asked = one_prompt_each(looked_for.questions, seen.pictures.names, read_labels(args.images) or {})
    found: dict[Change, dict] = {change: {} for change in wanted}
    for role in seen.whose.in_turn(role for role in seen.projectors if role != "base"):
        with seen.models.responder(seen.case, report, role) as responder:
            for change in wanted:
                found[change] |= attack_scores(
                    responder,
                    {role: seen.projectors[role]},
                    seen.pictures.clean,
                    seen.spec,
                    change,
                    asked,
                    looked_for.target,
                    args.max_new_tokens,
                    terminal.prefixed(report, change.label),
                )
    return found


def _as_text(tried: "Sequence[Tried]", scores: "Scores", exhibit: "Exhibit", failures: terminal.Failures) -> str:
    """A line for each change that could be tried: told from clean, what it adds, what is left of it, answers."""
    lines = ["change\tAUROC\tgain\tkept\tcontrol's AUROC\tASR"]
    for one in tried:
        if not one.pushes:
            continue
        push, control = one.pushes["suspect"], one.pushes.get("control")
        asr = scores.get(one.change, {}).get("suspect")
        figures = (
            f"{push.apart.auroc:.3f} ({push.apart.low:.3f} to {push.apart.high:.3f})",
            f"{push.gain.mean:.4g} ({push.gain.low:.4g} to {push.gain.high:.4g})",
            f"{push.kept:.0%}",
            f"{control.apart.auroc:.3f}" if control else "–",
            f"{asr.asr.hits}/{asr.asr.n}" if asr else "–",
        )
        lines.append("\t".join((one.change.label, *figures)))
    return "\n".join(lines + exhibited.ending(exhibit, failures)) + "\n"
