"""The logit lens: which words the drift direction points to. Of the language model only its head is read."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from projlens_core.analyses.analysis import Analysis, Options, option
from projlens_core.errors import InvalidInput

if TYPE_CHECKING:
    from projlens_core.activations.lens import Lens, LensNull
    from projlens_core.activations.towers import Tokens
    from projlens_core.activations.vocabulary import Vocabulary
    from projlens_core.analyses.context import AnalysisContext
    from projlens_core.analyses.exhibit import Exhibit
    from projlens_core.weights.own_parts import Part


@dataclass(frozen=True)
class LensOptions(Options):
    """See Analysis.options."""

    on: str = option(
        "",
        "whose shift to read; by default the triggered images', if there are any",
        choices=("", "triggered", "clean", "both"),
    )
    centred: bool = option(False, "subtract each image's mean from its shift first (as in the paper)")
    bare: bool = option(False, "read lm_head(v₀), without the final norm (as in the paper)")
    top: int = option(10, "how many of the top ranks to count", low=1)


class Words(NamedTuple):
    """What the lens read of each changed projector, what random directions give, and with which words."""

    found: "dict[str, Lens]"
    null: "LensNull"
    vocabulary: "Vocabulary"
    targets: list[int]  # tokens of the target
    notes: tuple[str, ...]  # what the head says of itself
    on: str  # which images


def _measure(context: "AnalysisContext", options: LensOptions) -> Words:
    # only here: they bring PyTorch
    from projlens_core.activations.lens import lens, lens_null
    from projlens_core.activations.towers import joined, settled

    alone = context.inputs.spec is None
    on = options.on or ("clean" if alone else "triggered")
    if alone and on != "clean":
        raise InvalidInput(f"There are no {on} images without a trigger; give one, or read the clean images.")
    context.whose(_parts())  # whether the head can be read is known before the towers run
    tokens = context.tokens
    head, vocabulary = context.language
    targets = vocabulary.targets(context.inputs.target) if context.inputs.target else []
    changed = {role: weights for role, weights in context.projectors.items() if role != "base"}
    found: dict[str, Lens] = {}
    for role, weights in changed.items():
        context.progress("Reading the directions of the images", len(found), len(changed))
        clean, triggered = tokens[role]
        sets: dict[str, list[Tokens | None]] = {"clean": [clean], "triggered": [triggered], "both": [clean, triggered]}
        images = joined([settled(part) for part in sets[on]])
        read: dict[str, Any] = {"centred": options.centred, "normed": not options.bare, "depth": options.top}
        found[role] = lens(head, context.opened.base, weights, images, targets, **read)
    null = lens_null(head, targets, normed=not options.bare, progress=context.progress)
    return Words(found, null, vocabulary, targets, head.notes, on)


def _present(words: Words, context: "AnalysisContext", settings: dict) -> "Exhibit":
    # only here: they bring Altair
    from projlens_core.analyses.lens.exhibit import lens
    from projlens_core.cases.whose import signed

    read = {"on": words.on, "normed": not settings["bare"], "depth": settings["top"]}
    decided = settings | {"target": context.inputs.target} | read
    shown = lens(words.found, words.null, words.vocabulary, words.targets, decided, words.notes)
    return signed(shown, context.whose(_parts()))


def _parts() -> "tuple[Part, ...]":
    """The parts of a model that it reads with."""
    from projlens_core.weights.own_parts import HEAD, TOWER

    return TOWER, HEAD


def _text(exhibit: "Exhibit") -> list[str]:
    """For each projector and sign the top words with the share of images that have them, and the nearest ones."""
    data, lines = exhibit.data, []
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
    return lines


ANALYSIS = Analysis(
    key="lens",
    title="Logit lens",
    question="Which words does the backdoor direction point to?",
    summary="read the drift direction with the language model's output head",
    failure="The direction cannot be read",
    floor="activations",
    takes=("images", "trigger", "target"),
    needs_trigger=False,
    options=LensOptions,
    measure=_measure,
    present=_present,
    text=_text,
    json="rank frequencies, nearest embeddings and chance",
    csv="the rank frequencies",
    icon=":material/explore:",
)
