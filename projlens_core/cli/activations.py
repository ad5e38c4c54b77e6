"""`projlens_core activations`: how far a suspect pushes image tokens, and which way. Runs no language model."""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from projlens_core.cli import terminal
from projlens_core.cli.twins import Twins, chosen_trigger, twins
from projlens_core.evidence.case import read_projectors
from projlens_core.inputs.images import load_folder
from projlens_core.sources import resolve
from projlens_core.weights.delta import compare

if TYPE_CHECKING:
    from projlens_core.activations.norm_shift import NormShiftFit
    from projlens_core.activations.shift import Condition, ShiftAnalysis


def add_parser(sub: argparse._SubParsersAction) -> None:
    """Add this command to the command line."""
    parser = sub.add_parser("activations", help="measure how far image tokens move along the drift direction")
    parser.add_argument("--base", required=True, help="checkpoint folder, .safetensors file or zoo:NAME")
    parser.add_argument("--suspect", required=True, help="the model under suspicion, named like --base")
    parser.add_argument("--control", help="a clean fine-tune of the base to compare with, named like --base")
    parser.add_argument("--images", required=True, type=Path, metavar="DIR", help="a folder of clean images")
    parser.add_argument("--limit", type=int, metavar="N", help="use the first N images only")
    trigger = parser.add_mutually_exclusive_group()
    trigger.add_argument("--trigger", metavar="SPEC.json", help="trigger to stamp; a zoo suspect's own by default")
    trigger.add_argument("--no-trigger", action="store_true", help="look at clean images only")
    parser.add_argument("--device", help="cpu, cuda, cuda:N or mps; the fastest there is by default")
    parser.add_argument("--json", action="store_true", help="write JSON with every sample")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Analyse the images of a folder and write what moved."""
    # Only here: transformers takes seconds to import, which the other commands need not wait for.
    from projlens_core.activations.model import load_vision
    from projlens_core.activations.shift import analyse
    from projlens_core.activations.tokens import image_tokens

    terminal.quiet_transformers()
    report = terminal.progress()
    base_source, suspect_source = resolve(args.base), resolve(args.suspect)
    spec = None if args.no_trigger else chosen_trigger(args.trigger, suspect_source)
    pictures = twins(load_folder(args.images, args.limit), spec)
    base, suspect, *rest = read_projectors([args.base, args.suspect, *([args.control] if args.control else [])], report)
    for other in (suspect, *rest):
        compare(base, other)  # says in a sentence why two projectors cannot be compared
    # A lone projector file has no tower; the other model's serves, since projector-only tuning leaves the tower be.
    vision = load_vision(base_source if base_source.model or not suspect_source.model else suspect_source, args.device)
    tokens = image_tokens(vision, pictures.clean + (pictures.triggered or []), report)
    clean, triggered = tokens[: len(pictures.clean)], tokens[len(pictures.clean) :]
    pair = (clean, triggered if pictures.triggered is not None else None)
    analysis = analyse(base, suspect, *pair)
    controls = [analyse(base, control, *pair) for control in rest]
    if not args.json:
        sys.stdout.write(_as_text(analysis, controls, pictures))
        return
    document = {"base": args.base, "suspect": args.suspect, "trigger": spec.to_dict() if spec else None}
    document |= _summary(analysis) | {"samples": _samples(analysis, pictures.names)}
    if controls:
        document["control"] = {"model": args.control} | _summary(controls[0])
    document["failures"] = [{"image": name, "reason": reason} for name, reason in pictures.failures]
    terminal.write_json(document)


def _summary(analysis: "ShiftAnalysis") -> dict:
    """The figures of one projector against base, along the universal drift direction of all images."""
    return {
        "direction": {
            "kind": analysis.direction.kind,
            "explained": analysis.direction.explained,
            "singular_values": analysis.direction.singular_values[:30].tolist(),
        },
        "direction_cosine": analysis.direction_cosine,
        "fit": {name: asdict(condition.fit) for name, condition in _conditions(analysis).items()},
        "separation": asdict(analysis.separation) if analysis.separation else None,
        "null": asdict(analysis.null),
        "contrast": {
            name: float(value.mean()) for name, value in (vars(analysis.contrast) if analysis.contrast else {}).items()
        }
        or None,
    }


def _samples(analysis: "ShiftAnalysis", names: list[str]) -> list[dict]:
    conditions = _conditions(analysis)
    return [
        {"image": image} | {name: _sample(condition, i) for name, condition in conditions.items()}
        for i, image in enumerate(names)
    ]


def _sample(condition: "Condition", i: int) -> dict[str, float]:
    return {"mean": float(condition.sample_mean[i]), "max": float(condition.sample_max[i])}


def _conditions(analysis: "ShiftAnalysis") -> dict[str, "Condition"]:
    """The conditions there are: what was not asked for is absent."""
    both = {"clean": analysis.clean, "triggered": analysis.triggered}
    return {name: condition for name, condition in both.items() if condition is not None}


def _as_text(analysis: "ShiftAnalysis", controls: list["ShiftAnalysis"], pictures: Twins) -> str:
    """The result as a person reads it: a few lines for suspect and control, then a line for each image."""
    lines = []
    for who, each in (("suspect", analysis), *(("control", control) for control in controls)):
        lines.append(f"{who}: {each.direction.explained:.1%} of the embedding shift lies along one direction")
        lines += [f"  {name}: {_fit(condition.fit)}" for name, condition in _conditions(each).items()]
        if each.separation is not None:
            apart = each.separation
            lines.append(f"  cosine of clean and triggered drift directions {each.direction_cosine:.3f}")
            lines.append(f"  triggered told from clean: AUROC {apart.auroc:.3f} ({apart.low:.3f} to {apart.high:.3f})")
    lines.append("")
    lines += ["\t".join(("image", "clean mean", "max", *(("triggered mean", "max") if analysis.triggered else ())))]
    for i, name in enumerate(pictures.names):
        figures = [_sample(condition, i) for condition in _conditions(analysis).values()]
        lines.append("\t".join([name, *(f"{value:.4g}" for figure in figures for value in figure.values())]))
    lines += [f"left out: {reason}" for _, reason in pictures.failures]
    return "\n".join(lines) + "\n"


def _fit(fit: "NormShiftFit") -> str:
    if fit.note:
        return fit.note
    return (
        f"shift against norm r {fit.r:.3f} ({fit.low:.3f} to {fit.high:.3f}), slope {fit.slope:.4g}, {fit.n} tokens, "
        f"resampled by {fit.resampled}"
    )
