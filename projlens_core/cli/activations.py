"""`projlens_core activations`: how far a suspect pushes image tokens, and which way. Runs no language model."""

import argparse
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from projlens_core.cli import arguments, terminal
from projlens_core.cli.encoded import encode
from projlens_core.cli.twins import Twins

if TYPE_CHECKING:
    from projlens_core.activations.shift import Condition, ShiftAnalysis
    from projlens_core.stats.lines import NormShiftFit


def add_parser(sub: argparse._SubParsersAction) -> None:
    """Add this command to the command line."""
    parser = sub.add_parser("activations", help="measure how far image tokens move along the drift direction")
    arguments.add_case(parser)
    arguments.add_projector_only(parser)
    arguments.add_images(parser)
    arguments.add_trigger(parser, optional=True)
    arguments.add_device(parser)
    arguments.add_json(parser, "every sample")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Analyse the images of a folder and write what moved."""
    from projlens_core.activations.shift import analyse  # only here: see encoded

    seen = encode(args, terminal.progress())
    pictures, spec = seen.pictures, seen.spec
    analysis = analyse(seen.base, seen.suspect, *seen.tokens["suspect"])
    controls = [analyse(seen.base, seen.control, *seen.tokens["control"])] if seen.control else []
    if not args.json:
        sys.stdout.write(_as_text(analysis, controls, pictures))
        sys.stdout.writelines(f"- {sentence}\n" for sentence in seen.whose.sentences)
        return
    document = {"base": args.base, "suspect": args.suspect, "trigger": spec.to_dict() if spec else None}
    document |= _summary(analysis) | {"samples": _samples(analysis, pictures.names)}
    if controls:
        document["control"] = {"model": args.control} | _summary(controls[0])
    document["parts"] = seen.whose.parts()
    document["failures"] = terminal.left_out(pictures.failures)
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
