"""`projlens_core lens`: which words the drift direction points to. Of the language model only its head is read."""

import argparse
from typing import TYPE_CHECKING

from projlens_core.cases.settings import settings
from projlens_core.cases.whose import signed
from projlens_core.cli import arguments, exhibited, terminal
from projlens_core.cli.encoded import Encoded, encode
from projlens_core.errors import InvalidInput
from projlens_core.sources import resolve
from projlens_core.weights.own_parts import HEAD, TOWER

if TYPE_CHECKING:
    from projlens_core.activations.towers import Tokens
    from projlens_core.analyses.exhibit import Exhibit

ON = ("triggered", "clean", "both")


def add_parser(sub: argparse._SubParsersAction) -> None:
    """Add this command to the command line."""
    parser = sub.add_parser("lens", help="read the drift direction with the language model's output head")
    arguments.add_case(parser)
    arguments.add_projector_only(parser)
    arguments.add_images(parser)
    arguments.add_trigger(parser, optional=True)
    parser.add_argument(
        "--target", metavar="TEXT", help="text whose words are looked for; a zoo suspect's own by default"
    )
    parser.add_argument("--on", choices=ON, help="whose shift to read; triggered images by default, if there are any")
    parser.add_argument(
        "--centred", action="store_true", help="take each image's mean from its shift first (the paper)"
    )
    parser.add_argument("--bare", action="store_true", help="without the final norm, lm_head(v₀) (the paper)")
    parser.add_argument("--top", type=arguments.positive, default=10, metavar="K", help="ranks to count, 10 by default")
    arguments.add_device(parser)
    arguments.add_json(parser, "rank frequencies, nearest embeddings and chance")
    arguments.add_csv(parser, "the rank frequencies")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Read the directions of suspect and control, and random ones, and write the words."""
    # Only here: see encoded.
    from projlens_core.activations.lens import lens, lens_null
    from projlens_core.cases.models import read_language
    from projlens_core.exhibits.lens import lens as exhibit

    report = terminal.progress()
    seen = encode(args, report, (TOWER, HEAD))
    tokens, on = _tokens(seen, args.on)
    suspect = resolve(args.suspect)
    head, vocabulary = read_language(seen.whose, report)
    target = args.target if args.target is not None else (suspect.zoo.target if suspect.zoo else None)
    targets = vocabulary.targets(target) if target else []
    read = {"centred": args.centred, "normed": not args.bare, "depth": args.top}
    found = {
        role: lens(head, seen.base, weights, tokens[role], targets, **read)
        for role, weights in seen.projectors.items()
        if role != "base"
    }
    null = lens_null(head, targets, normed=not args.bare, progress=report)
    decided = settings(
        seen.case, seen.projectors, seen.spec, len(seen.pictures.names), target=target, on=on, seed=0, **read
    )
    shown = signed(exhibit(found, null, vocabulary, targets, decided, head.notes), seen.whose)
    exhibited.write(shown, args, seen.pictures.failures, _as_text(shown, seen.pictures.failures))


def _tokens(seen: Encoded, on: str | None) -> "tuple[dict[str, Tokens], str]":
    """The tokens (n, T, d_vision) of the images whose shift is read, by role, and which images these are."""
    from projlens_core.activations.towers import joined  # only here: see encoded

    on = on or ("clean" if seen.spec is None else "triggered")
    if seen.spec is None and on != "clean":
        raise InvalidInput(f"There are no {on} images without a trigger; name one with --trigger, or read --on clean.")
    chosen = {"clean": slice(0, 1), "triggered": slice(1, 2), "both": slice(0, 2)}[on]
    return {role: joined(pair[chosen]) for role, pair in seen.tokens.items()}, on


def _as_text(shown: "Exhibit", failures: terminal.Failures) -> str:
    """For each projector and sign the top words with the share of images that have them, and the nearest ones."""
    data, lines = shown.data, []
    for role in ("suspect", "control"):
        for sign, symbol in (("plus", "+v₀"), ("minus", "−v₀")):
            if role not in data:
                continue
            one = data[role][sign]
            words = ", ".join(f"{word['token']} {sum(word['shares']):.0%}" for word in one["rank_frequency"][:10])
            near = ", ".join(f"{word['token']} {word['cosine']:.2f}" for word in one["nearest"][:5])
            lines += [f"{role} {symbol}: {words}", f"  nearest embeddings: {near}"]
            if one["best_target_rank"] is not None:
                low, high = data["chance"]["best_target_rank"]
                lines.append(
                    f"  best target word: rank {one['best_target_rank']:,} of {data['vocabulary']:,}, p {one['p']:.2g} "
                    f"(95 % of random directions {low:,} to {high:,})"
                )
    return "\n".join(lines + exhibited.ending(shown, failures)) + "\n"
