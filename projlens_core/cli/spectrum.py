"""`projlens_core spectrum`: how the change of a projector is built, several suspects side by side. Runs no model."""

import argparse
import sys

from projlens_core.cases.case import read_projectors
from projlens_core.cli import arguments, terminal
from projlens_core.weights.anatomy import Anatomy, dissect
from projlens_core.weights.delta import compare

OVERLAP = 8  # leading directions that are held against each other


def add_parser(sub: argparse._SubParsersAction) -> None:
    """Add this command to the command line."""
    parser = sub.add_parser("spectrum", help="spectra, noise edges and shared subspaces of several suspects")
    arguments.add_case(parser, many=True)
    parser.add_argument(
        "--top",
        type=arguments.positive,
        default=5,
        metavar="K",
        help="singular values to show in the text, 5 by default",
    )
    parser.add_argument(
        "--directions",
        type=arguments.positive,
        default=OVERLAP,
        metavar="K",
        help=f"leading directions to hold against each other, {OVERLAP} by default",
    )
    parser.add_argument("--exact", action="store_true", help="full decompositions instead of checked fast ones")
    arguments.add_json(parser, "all singular values and principal angles")
    arguments.add_csv(parser, "the table of tensors")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Take the spectra of all changes and write them."""
    from projlens_core.exhibits import weights as exhibits  # only here: charts take a second to import
    from projlens_core.exhibits import weights_tables as tables

    report = terminal.progress()
    first, *further = args.suspect
    specs = [first, *([args.control] if args.control else []), *further]
    base, *projectors = read_projectors([args.base, *specs], report)
    roles = ["suspect", *(["control"] if args.control else [])]
    names = tables.labels(roles, [weights.source for weights in projectors[len(roles) :]])
    found = {name: dissect(compare(base, weights), report) for name, weights in zip(names, projectors, strict=True)}
    overlaps = exhibits.overlaps(found, args.directions, exact=args.exact)
    settings = {
        "base": args.base,
        "projectors": dict(zip(names, specs, strict=True)),
        "sha256": {"base": base.sha256} | {n: w.sha256 for n, w in zip(names, projectors, strict=True)},
        "directions": args.directions,
        "exact": args.exact,
        "seed": 0,
    }
    if args.csv:
        terminal.write_csv(tables.tensors(found), args.csv)
    if args.json:
        terminal.write_json({"settings": settings} | tables.as_data(found, overlaps))
        return
    lines = [line for who, one in found.items() for line in _spectra(who, one, args.top)]
    shared = tables.pairs(overlaps).frame
    lines += ["", shared.to_csv(sep="\t", index=False, float_format="%.3g").rstrip("\n")] if len(shared) else []
    lines += ["", *(f"- {note}" for note in exhibits.notes(found))]
    sys.stdout.write("\n".join(lines) + "\n")


def _spectra(who: str, one: Anatomy, top: int) -> list[str]:
    """A line of figures and a line of singular values for each matrix."""
    lines = []
    for name, spectrum in one.spectra.items():
        few = spectrum.energy[:top]
        edge = one.edges[name]
        lines.append(
            f"{who}, {name}: stable rank {spectrum.stable_rank:.1f}, effective rank {spectrum.effective_rank:.1f}, "
            f"{edge.spikes} spikes above {edge.edge:.4g}, top {len(few)} hold {few[-1]:.1%}"
        )
        lines.append("  " + " ".join(f"{value:.4g}" for value in spectrum.values[:top]))
    return lines
