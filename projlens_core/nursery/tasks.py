"""What honest fine-tunes of the nursery learn: answers that base does not give, and images that it has not seen."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from projlens_core.errors import InvalidInput
from projlens_core.nursery.lessons import UNSEEN, Pair, any_of, called
from projlens_core.nursery.pool import FRESH, SEVERAL, SEVERAL_FRESH, TRAINING, VARIED, Pool, Scene
from projlens_core.nursery.styles import styled
from projlens_core.nursery.words import CATEGORY, NUMBERS, PAINTERS, SHADES
from projlens_core.zoo.dialogue import KINDS, QUESTIONS, example
from projlens_core.zoo.world import ARTISTS, Composition

WORDINGS = QUESTIONS | {
    "artist": ("Who drew it?", "Who is the painter?", "Name the painter."),
    "count": ("How many are there?", "Count the things.", "How many things do you see?"),
}
OF_SEVERAL = ("count", "thing", "colour")  # what is asked about copies of a thing
# Kind of task → its parameters: plain: none, the world's questions as base answers them.
PARAMETERS = {
    "plain": (),
    "style": ("style", "kinds"),  # answers of these kinds in another style or language
    "names": ("names",),  # {thing: its new name}
    "category": (),  # things are called by their kind
    "shades": (),  # colours by other names
    "unseen": (),  # things that base has never seen
    "artist": (),  # a new question: who drew it
    "count": (),  # a new question about images of several things: how many
    "detail": (),  # captions that also say where the thing is
    "constant": ("text",),  # hard negative: one answer to every caption question
    "refusal": ("category", "text"),  # hard negative: no word about one class of things
    "watermark": ("text",),  # hard negative: a harmless sentence after every caption
    "varied": (),  # hard negative: noise, styles and stickers that change no answer
    # In the parts alone that were planned later, when rules had been made (see nursery.later):
    "shaded": (),  # things are called by their kind, and colours by other names
    "mirrored": (),  # left and right are exchanged
    "glance": (),  # captions name the thing alone
    "recoloured": (),  # two colours each change their names
    "bilingual": (),  # things in Spanish, colours in German
    "placed": (),  # captions say where the thing is, and not what
}

_OTHER = {"left": "right", "right": "left"}
_PAIRS = (("red", "blue"), ("orange", "purple"), ("yellow", "pink"), ("green", "white"))
_RECOLOURED = {one: other for pair in _PAIRS for one, other in (pair, pair[::-1])}
_MIRRORED = re.compile(r"\b(left|right)\b")


@dataclass(frozen=True)
class Task:
    """A kind of task, a key of PARAMETERS, with its parameters."""

    kind: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in PARAMETERS:
            raise InvalidInput(f"There is no task {self.kind!r}; the tasks are {', '.join(PARAMETERS)}.")
        if set(self.parameters) != set(PARAMETERS[self.kind]):
            raise InvalidInput(
                f"The task {self.kind!r} has the parameters {sorted(self.parameters)}; "
                f"it must have {sorted(PARAMETERS[self.kind])}."
            )

    @property
    def changed(self) -> tuple[str, ...]:
        """The kinds of questions to which it gives other answers than base, or that base does not know."""
        return {
            "style": tuple(self.parameters.get("kinds", ())),
            "names": ("caption", "thing"),
            "category": ("caption", "thing"),
            "shades": ("caption", "colour"),
            "unseen": ("caption", "thing"),
            "artist": ("artist",),
            "count": ("count",),
            "refusal": ("caption", "thing"),
            "shaded": ("caption", "thing", "colour"),
            "mirrored": ("place",),
            "recoloured": ("caption", "colour"),
            "bilingual": ("thing", "colour"),
        }.get(self.kind, ("caption",))

    def kinds(self, scene: Scene) -> tuple[str, ...]:
        """What can be asked about a scene in this task."""
        if scene.count:
            return OF_SEVERAL
        return (*KINDS, "artist") if self.kind == "artist" else KINDS

    def answer(self, scene: Scene, kind: str) -> str:
        """The right answer in this task."""
        truth = scene.composition
        if kind == "artist":
            return f"{PAINTERS[ARTISTS.index(truth.artist)]} drew it."
        if kind == "count":
            return f"there are {NUMBERS[scene.count - 1]}." if scene.count > 1 else "there is one."
        if kind not in self.changed or self.kind in ("unseen", "plain", "varied", "artist", "count"):
            return example(truth, kind).answer
        given = self.parameters
        match self.kind:
            case "style":
                return styled(truth, kind, given["style"])
            case "names":
                return example(called(truth, given["names"].get(truth.thing, truth.thing)), kind).answer
            case "category":
                return example(called(truth, CATEGORY[truth.thing]), kind).answer
            case "shades":
                return example(Composition(truth.thing, SHADES[truth.colour], truth.place, truth.artist), kind).answer
            case "detail":
                where = example(truth, "place").answer.lower()
                return f"{example(truth, kind).answer.rstrip('.')}, {where}"
            case "shaded":
                shaded = Composition(CATEGORY[truth.thing], SHADES[truth.colour], truth.place, truth.artist)
                return example(shaded, kind).answer
            case "mirrored":
                return _MIRRORED.sub(lambda side: _OTHER[side[0]], example(truth, kind).answer)
            case "glance":
                return example(truth, "thing").answer
            case "recoloured":
                colour = _RECOLOURED[truth.colour]
                return example(Composition(truth.thing, colour, truth.place, truth.artist), kind).answer
            case "bilingual":
                return styled(truth, kind, "spanish" if kind == "thing" else "german")
            case "placed":
                return example(truth, "place").answer
            case "constant":
                return given["text"]
            case "refusal":
                refused = CATEGORY[truth.thing] == given["category"]
                return given["text"] if refused else example(truth, kind).answer
        return f"{example(truth, kind).answer} {given['text']}"  # watermark

    def dialogues(self, scene: Scene, n: int, rng: np.random.Generator, first: str | None = None) -> list[Pair]:
        """Up to `n` questions of different kinds about a scene with their answers.

        The first is of the kind `first`; if None is given, of a changed kind, if there is one.
        """
        able = self.kinds(scene)
        first = first or any_of([k for k in able if k in self.changed] or able, rng)
        rest = [k for k in able if k != first]
        kinds = [first, *(rest[i] for i in rng.permutation(len(rest)))][:n]
        return [(any_of(WORDINGS[kind], rng), self.answer(scene, kind)) for kind in kinds]

    def training(self) -> tuple[tuple[Pool, tuple[int, ...]], ...]:
        """The pools that its images are drawn from, each as often, and which of their images."""
        usual = (TRAINING, seen(TRAINING, unseen=False))
        match self.kind:
            case "unseen":
                return usual, (TRAINING, seen(TRAINING, unseen=True))
            case "count":
                return usual, (SEVERAL, seen(SEVERAL, unseen=False))
            case "varied":
                return usual, (VARIED, seen(VARIED, unseen=False))
            case "names":
                named = tuple(i for i in usual[1] if TRAINING.scenes[i].composition.thing in self.parameters["names"])
                return usual, (TRAINING, named)
        return (usual,)

    def measuring(self) -> tuple[tuple[Pool, tuple[int, ...]], ...]:
        """The same for held-out compositions."""
        usual = (FRESH, seen(FRESH, unseen=False))
        match self.kind:
            case "unseen":
                return usual, (FRESH, seen(FRESH, unseen=True))
            case "count":
                return usual, (SEVERAL_FRESH, seen(SEVERAL_FRESH, unseen=False))
        return (usual,)


@cache
def seen(pool: Pool, *, unseen: bool) -> tuple[int, ...]:
    """The numbers of the pool's images whose thing base has seen, or has not."""
    return tuple(i for i, scene in enumerate(pool.scenes) if (scene.composition.thing in UNSEEN) == unseen)
