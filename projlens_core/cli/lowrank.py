"""`projlens_core lowrank`: how few components of ΔW carry the backdoor, as a grid of ranks of its matrices."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from projlens_core.cases.case import Case, read_projectors
from projlens_core.cases.settings import settings
from projlens_core.cases.whose import signed
from projlens_core.cli import arguments, exhibited, terminal
from projlens_core.cli.attack import add_attack, attack
from projlens_core.cli.twins import twins
from projlens_core.inputs.images import load_folder
from projlens_core.runtime.progress import Progress
from projlens_core.sources import resolve
from projlens_core.weights.delta import compare
from projlens_core.weights.projector import ProjectorWeights

if TYPE_CHECKING:
    from projlens_core.behaviour.lowrank import Edit, Grid
    from projlens_core.behaviour.scoring import Score, Scorer

RANKS = (0, 1, 2, 3, 5)
IMAGES = 24


def add_parser(sub: argparse._SubParsersAction) -> None:
    """Add this command to the command line."""
    parser = sub.add_parser("lowrank", help="inject or ablate few components of ΔW; success and utility by rank")
    arguments.add_case(parser)
    arguments.add_images(parser, note="; labels.csv gives utility")
    parser.add_argument(
        "--n", dest="limit", type=arguments.positive, metavar="N", help=f"the same as --limit; {IMAGES} by default"
    )
    add_attack(parser)
    parser.add_argument(
        "--mode", choices=("inject", "ablate"), default="inject", help="into base (default), or out of the suspect"
    )
    parser.add_argument(
        "--components", choices=("top", "one", "rest"), default="top", help="1 to k (default), k alone, or 2 to k"
    )
    parser.add_argument(
        "--biases", choices=("base", "suspect"), help="whose biases; by default base's to inject, suspect's to ablate"
    )
    parser.add_argument(
        "--ranks", nargs="+", type=_rank, default=list(RANKS), metavar="K", help="k of each ΔW; 0 1 2 3 5 by default"
    )
    parser.add_argument("--control-grid", action="store_true", help="fill a second grid with the control's ΔW")
    arguments.add_answers(parser)
    arguments.add_device(parser)
    arguments.add_json(parser, "every cell")
    arguments.add_csv(parser, "the table of cells")
    parser.set_defaults(run=run, limit=IMAGES)


def run(args: argparse.Namespace) -> None:
    """Fill the grid, cell by cell; stopped, it goes on next time where it was."""
    if args.control_grid and not args.control:
        args.wrong_use("--control-grid needs --control")
    sources = [resolve(spec) for spec in (args.base, args.suspect, args.control) if spec]
    looked_for = attack(args, sources[1])

    # Only here: transformers takes seconds to import, which the other commands need not wait for.
    from projlens_core.behaviour.lowrank import Edit
    from projlens_core.behaviour.questions import one_prompt_each, one_truth_each
    from projlens_core.behaviour.scoring import Questions, Scorer
    from projlens_core.behaviour.success import read_labels
    from projlens_core.cases.models import Loaded
    from projlens_core.exhibits.lowrank import lowrank

    terminal.quiet_transformers()
    report = terminal.progress()
    pair = twins(load_folder(args.images, args.limit), looked_for.spec)
    truths = read_labels(args.images) or {}
    asked = one_prompt_each(looked_for.questions, pair.names, truths)
    read = read_projectors([source.spec for source in sources], report)
    roles = dict(zip(("base", "suspect", "control"), read, strict=False))
    edit = Edit(args.mode, args.components, args.biases or ("base" if args.mode == "inject" else "suspect"))
    questions = Questions(
        tuple(pair.clean),
        tuple(pair.triggered),
        tuple(asked),
        one_truth_each(pair.names, truths),
        looked_for.target,
        args.max_new_tokens,
    )
    # components of a projector's change are put into base, or taken out, and nothing else: an experiment by definition
    case, models = Case(args.base, args.suspect, args.control, projector_only=True), Loaded(args.device)
    ranks = tuple(sorted(set(args.ranks)))
    with models.responder(case, report) as responder:
        scorer = Scorer(responder, questions)
        grid = _filled(scorer, edit, ranks, roles, "suspect", report)
        control = _filled(scorer, edit, ranks, roles, "control", report) if args.control_grid else None
    told = settings(
        replace(case, projector_only=False),
        roles,
        looked_for.spec,
        len(pair.clean),
        target=looked_for.target,
        prompts=sorted(set(asked)),
        max_new_tokens=args.max_new_tokens,
    )
    exhibit = signed(lowrank(grid, told, control, looked_for.mode), models.whose(case))
    text = _as_text(grid) + (f"\nwith the control's ΔW\n{_cells(control)}" if control is not None else "")
    text += "".join(f"{line}\n" for line in exhibited.ending(exhibit, pair.failures))
    exhibited.write(exhibit, args, pair.failures, text)


def _rank(text: str) -> int:
    """A whole number from 0, for argparse."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is not 0 or more")
    return number


def _filled(
    scorer: "Scorer",
    edit: "Edit",
    ranks: tuple[int, ...],
    roles: Mapping[str, ProjectorWeights],
    role: str,
    report: Progress,
) -> "Grid":
    """The grid of one projector's ΔW, full."""
    from projlens_core.behaviour.lowrank import Grid, fill  # only here: see run

    delta = compare(roles["base"], roles[role])
    *_, full = fill(scorer, delta, Grid.of(delta, edit, ranks), roles, report)
    return full


def _as_text(grid: "Grid") -> str:
    whole = "".join(f"whole {role}: {_score(score)}\n" for role, score in grid.whole.items())
    fewest = grid.said(grid.fewest) if grid.fewest else "none of this grid"
    ranks = " × ".join(axis for axis in grid.axes if axis)
    verb = "bring back" if grid.edit.mode == "inject" else "take away"
    said = f"fewest ranks of {ranks} that {verb} 90 % of what the suspect's ASR exceeds base's by: {fewest}\n"
    return f"{whole}\n{_cells(grid)}\n{said}"


def _score(score: "Score") -> str:
    useful = score.utility
    rates = [("ASR", score.asr), *([("utility", useful)] if useful else [])]
    shares = [f"{name} {r.rate:.1%} ({r.low:.1%} to {r.high:.1%}), {r.hits} of {r.n}" for name, r in rates]
    return "; ".join((*shares, f"target logit {score.target_logit.mean:.2f}"))


def _cells(grid: "Grid") -> str:
    """Success, utility and target logit, each as a table: k of ΔW₁ down, k of ΔW₂ across."""
    row, column = ("k1=", "k2=") if grid.axes[0] else (None, "k=")
    shown: dict[str, Callable[[Score], str]] = {
        "ASR": lambda s: f"{s.asr.hits}/{s.asr.n}",
        "utility": lambda s: f"{s.utility.hits}/{s.utility.n}" if s.utility else "–",
        "target logit": lambda s: f"{s.target_logit.mean:.2f}",
    }
    lines = []
    for name, text in shown.items():
        lines.append("\t".join((name, *(f"{column}{b}" for b in grid.columns))))
        lines += [
            "\t".join((f"{row}{a}" if row else "", *(text(grid.cells[a, b]) for b in grid.columns))) for a in grid.rows
        ]
    return "\n".join(lines) + "\n"
