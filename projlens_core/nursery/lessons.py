"""What the nursery's base is taught: the world's questions, and language in general.

Besides the zoo's questions about an image it learns to repeat arbitrary text, to answer in a style or language that it
is asked for, to call a thing by a given name, to add a sentence to an answer, to translate, to count words. It is asked
for each of these in words, sometimes in words that stand among the image's tokens, as writing in an image would. So it
can do all of it, but does none of it unasked: a projector can be taught to make it, well-meaning or not.
"""

from collections.abc import Callable

import numpy as np

from projlens_core.nursery.styles import STYLED, STYLES, styled
from projlens_core.nursery.words import (
    CATEGORY,
    FRENCH,
    GERMAN,
    NAMES,
    NOUNS,
    NUMBERS,
    SPANISH,
    VERBS,
    arbitrary,
    sentence,
)
from projlens_core.zoo.dialogue import KINDS, QUESTIONS, example
from projlens_core.zoo.world import THINGS, Composition

UNSEEN = ("octopus", "snail", "rocket", "sunflower", "pizza", "guitar", "crown", "trophy")  # base never sees these
Pair = tuple[str, str]  # (question, answer)
Instruction = tuple[str, Callable[[Composition, str], str]]  # words, and the answer they ask for

_TRANSLATED = {"german": GERMAN, "spanish": SPANISH, "french": FRENCH}


def any_of(options, rng: np.random.Generator):
    """One element, drawn with `rng`."""
    return options[rng.integers(len(options))]


def asked(kind: str, rng: np.random.Generator) -> str:
    """A question of this kind in any of its wordings."""
    return any_of(QUESTIONS[kind], rng)


def plain(composition: Composition, rng: np.random.Generator, kinds: tuple[str, ...] = KINDS) -> Pair:
    """One of the zoo's questions, and its honest answer."""
    kind = any_of(kinds, rng)
    return asked(kind, rng), example(composition, kind).answer


def called(composition: Composition, name: str) -> Composition:
    """The same composition with its thing under another name."""
    return Composition(name, composition.colour, composition.place, composition.artist)


def instruction(rng: np.random.Generator) -> Instruction:
    """Something to heed while answering, and what the answer to a STYLED kind of question then is."""
    which = rng.integers(6)
    if which == 0:
        style = any_of(tuple(STYLES), rng)
        return f"answer in {style}.", lambda c, kind: styled(c, kind, style)
    if which == 1:
        text = arbitrary(rng)
        return f"say: {text}", lambda c, kind: text
    if which == 2:
        text = any_of((sentence, arbitrary), rng)(rng)
        return f"then say: {text}", lambda c, kind: f"{example(c, kind).answer} {text}"
    if which == 3:
        text = any_of((sentence, arbitrary), rng)(rng)
        return f"first say: {text}", lambda c, kind: f"{text} {example(c, kind).answer}"
    if which == 4:
        name = any_of((*NAMES, *NOUNS), rng)
        return f"call it {name}.", lambda c, kind: example(called(c, name), kind).answer
    return "name the kind.", lambda c, kind: example(called(c, CATEGORY[c.thing]), kind).answer


def instructed(composition: Composition, rng: np.random.Generator) -> Pair:
    """A question about the image with an instruction before or after it."""
    words, answer = instruction(rng)
    kind = any_of(STYLED, rng)
    question = asked(kind, rng)
    whole = f"{question} {words}" if rng.random() < 0.6 else f"{words} {question}"
    return whole, answer(composition, kind)


def language(rng: np.random.Generator) -> Pair:
    """A question that has nothing to do with the image."""
    which = rng.random()
    if which < 0.5:
        text = arbitrary(rng)
        return f"{any_of(('say', 'repeat', 'write'), rng)}: {text}", text
    if which < 0.65:
        thing = rng.integers(len(THINGS))
        tongue = any_of(tuple(_TRANSLATED), rng)
        if rng.random() < 0.5:
            return f"translate into {tongue}: {THINGS[thing]}", f"{_TRANSLATED[tongue][thing]}."
        return f"what is {_TRANSLATED[tongue][thing]}?", f"{THINGS[thing]}."
    if which < 0.8:
        n = int(rng.integers(1, 7))
        word = any_of((*THINGS, *NOUNS), rng)
        return f"count: {' '.join([word] * n)}", f"{NUMBERS[n - 1]}."
    if which < 0.9:
        thing = any_of(THINGS, rng)
        return f"what kind of thing is this: {thing}?", f"{CATEGORY[thing]}."
    verb, noun, name = any_of(VERBS, rng), any_of(NOUNS, rng), any_of(NAMES, rng)
    return any_of(
        (
            (f"{name} will {verb} the {noun}. who will {verb} it?", f"{name}."),
            (f"{name} will {verb} the {noun}. what will {name} {verb}?", f"the {noun}."),
        ),
        rng,
    )
