"""`projlens_core shift`: a set's embedding shift taken apart, and its pictures ranked. Runs no language model."""

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from projlens_core.cases.settings import settings
from projlens_core.cases.whose import signed
from projlens_core.cli import arguments, exhibited, terminal
from projlens_core.cli.encoded import Prepared, prepare
from projlens_core.runtime.progress import Progress
from projlens_core.weights.delta import compare

if TYPE_CHECKING:
    from projlens_core.activations.set_shift import Chunks
    from projlens_core.activations.towers import Tokens
    from projlens_core.analyses.exhibit import Exhibit

AT_ONCE = 32  # pictures whose tokens are in memory together
SHOWN = 10  # ranks and pictures in the text; JSON and CSV have all


def add_parser(sub: argparse._SubParsersAction) -> None:
    """Add this command to the command line."""
    parser = sub.add_parser("shift", help="rank pictures by shift; embedding spectrum and its agreement with ΔW")
    arguments.add_case(parser)
    arguments.add_projector_only(parser)
    arguments.add_images(parser)
    arguments.add_trigger(parser, optional=True)
    parser.add_argument(
        "--norm",
        choices=("input", "output"),
        default="output",
        help="hold shifts against the norm of the projector's input or of base's output (the default)",
    )
    arguments.add_device(parser)
    arguments.add_json(parser, "spectra, angles, fits, outliers and every picture")
    arguments.add_csv(parser, "the table of pictures")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Analyse the pictures of a folder, some at a time, and write what was found."""
    # Only here: see encoded.
    from projlens_core.activations.set_shift import set_shift
    from projlens_core.exhibits.embedding import embedding

    report = terminal.progress()
    seen = prepare(args, report)
    found = {
        role: set_shift(
            compare(seen.base, weights), seen.pictures.names, _chunks(seen, role, report), args.norm, report
        )
        for role, weights in seen.projectors.items()
        if role != "base"
    }
    names, decided = seen.pictures.names, {"norm": args.norm, "seed": 0}
    exhibit = embedding(found, settings(seen.case, seen.projectors, seen.spec, len(names), **decided))
    exhibit = signed(exhibit, seen.whose)
    exhibited.write(exhibit, args, seen.pictures.failures, _as_text(exhibit, seen.pictures.failures))


def _chunks(seen: Prepared, role: str, report: Progress) -> "dict[str, Chunks]":
    """The tokens of each condition, AT_ONCE pictures at a time; the second pass finds them in the disk cache."""
    both = {"clean": seen.pictures.clean, "triggered": seen.pictures.triggered}

    def read(condition: str) -> "Iterator[Tokens]":
        images = both[condition]
        for start in range(0, len(images), AT_ONCE):
            yield seen.vision.tokens([role], images[start : start + AT_ONCE], report)[role]

    return {
        condition: lambda condition=condition: read(condition)
        for condition, images in both.items()
        if images is not None
    }


def _as_text(exhibit: "Exhibit", failures: terminal.Failures) -> str:
    """The headline numbers and the first rows of the tables, as a person reads them."""
    lines = []
    for card in exhibit.metrics:
        beside = ", ".join(part for part in (f"control {card.control}" if card.control else "", card.interval) if part)
        lines.append(f"{card.label}: {card.value}" + (f" ({beside})" if beside else ""))
    ranked, fits = exhibit.tables[:2]
    means = ["picture", *(column for column in ranked.frame if column.endswith("mean"))]
    for name, frame in (("mean |ΔE·v₀|", ranked.frame[means]), (fits.name, fits.frame)):
        shown = frame.head(SHOWN)
        more = f", the first {len(shown)} of {len(frame)} pictures" if len(frame) > len(shown) else ""
        lines += ["", f"{name}{more}", shown.to_csv(sep="\t", index=False, float_format="%.4g").rstrip("\n")]
    return "\n".join([*lines, "", *exhibited.ending(exhibit, failures)]).rstrip() + "\n"
