"""`projlens_core separability`: can clean and triggered images be told apart inside? Runs no language model."""

import argparse

from projlens_core.cli import arguments, exhibited, terminal
from projlens_core.cli.encoded import encode
from projlens_core.errors import InvalidInput
from projlens_core.evidence.settings import settings


def add_parser(sub: argparse._SubParsersAction) -> None:
    """Add this command to the command line."""
    parser = sub.add_parser("separability", help="tell clean from triggered images by their pooled embeddings")
    arguments.add_case(parser)
    arguments.add_images(parser)
    arguments.add_trigger(parser)
    arguments.add_device(parser)
    arguments.add_json(parser, "every image's decision value")
    arguments.add_csv(parser, "the decision values")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Cross-validate the classifier on each projector's embeddings and write how well it does."""
    # Only here: see encoded.
    from projlens_core.activations.separability import separability
    from projlens_core.activations.shift import embeddings
    from projlens_core.exhibits.separability import separability as exhibit

    seen = encode(args, terminal.progress())
    if seen.triggered is None:
        raise InvalidInput("There is no trigger to tell images apart by; name one with --trigger.")
    found = {
        role: separability(embeddings(weights, seen.clean), embeddings(weights, seen.triggered))
        for role, weights in seen.projectors.items()
    }
    shown = exhibit(
        found,
        tuple(seen.pictures.names),
        settings(seen.case, seen.projectors, seen.spec, len(seen.pictures.names), seed=0),
    )
    lines = []
    for role, one in found.items():
        apart, norms = one.auroc, one.norms
        lines.append(f"{role}: AUROC {apart.auroc:.3f} ({apart.low:.3f} to {apart.high:.3f}), norms {norms.auroc:.3f}")
        lines.append(
            f"  shuffled labels: mean {one.chance.mean:.3f}, 97.5 % {one.chance.high:.3f}; p {one.chance.p:.2g}"
        )
    text = "\n".join(lines + exhibited.ending(shown, seen.pictures.failures)) + "\n"
    exhibited.write(shown, args, seen.pictures.failures, text, table=1)
