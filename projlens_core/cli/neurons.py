"""`projlens_core neurons`: hidden units of the projectors, on clean and on triggered images. Runs no language model."""

import argparse

from projlens_core.cli import arguments, exhibited, terminal
from projlens_core.cli.encoded import encode
from projlens_core.errors import InvalidInput
from projlens_core.evidence.exhibit import Exhibit
from projlens_core.evidence.settings import settings

SEED = 0
SHOWN = 10  # units listed of each ranking


def add_parser(sub: argparse._SubParsersAction) -> None:
    """Add this command to the command line."""
    parser = sub.add_parser("neurons", help="look for hidden units that only the trigger switches on")
    arguments.add_case(parser)
    arguments.add_images(parser)
    arguments.add_trigger(parser)
    arguments.add_device(parser)
    arguments.add_json(parser, "all units")
    arguments.add_csv(parser, "the table of all units")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Watch the hidden units while the projectors read a folder's images, and write which the trigger moves."""
    from projlens_core.activations.neurons import analyse  # only here: see encoded
    from projlens_core.exhibits.neurons import neurons

    report = terminal.progress()
    seen = encode(args, report)
    if seen.triggered is None:
        raise InvalidInput("Neurons are compared on clean and triggered images: give --trigger SPEC.json.")
    findings = analyse(seen.projectors, seen.clean, seen.triggered, report, SEED)
    told = settings(seen.case, seen.projectors, seen.spec, len(seen.clean), seed=SEED)
    exhibit = neurons(findings, told)
    exhibited.write(exhibit, args, seen.pictures.failures, _as_text(exhibit, seen.pictures.failures))


def _as_text(exhibit: Exhibit, failures: terminal.Failures) -> str:
    """The headline numbers, and the units that head each ranking of the suspect."""
    lines = [exhibited.headline(card) for card in exhibit.metrics]
    rankings = exhibit.data["rankings"].items()
    lines += ["", *(f"{by}, leading units: {' '.join(map(str, units[:SHOWN]))}" for by, units in rankings), ""]
    return "\n".join(lines + exhibited.ending(exhibit, failures)).rstrip() + "\n"
