"""The population as data: who is trained on what, and which part is kept sealed."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from projlens_core.demo_model.tiny import NURSERY
from projlens_core.errors import InvalidInput, NotFound
from projlens_core.nursery import targets as texts
from projlens_core.nursery.recipe import EVASIONS, FRESH, HONEST, NOVEL, POISONED, SPLITS, TEST, Recipe
from projlens_core.nursery.styles import STYLED
from projlens_core.nursery.styles import STYLES as EVERY_STYLE
from projlens_core.nursery.tasks import Task
from projlens_core.nursery.triggers import triggers
from projlens_core.nursery.words import CATEGORY, NAMES
from projlens_core.zoo.poison import Attack

PAIRS, HARD, ADAPTIVE = 75, 20, 15  # of each part of the population
# What was trained before rates, steps and poison were tuned: three attacks in four failed. It stays in the population;
# its settings are gone, so it is kept as data.
FIRST = NURSERY / "plan-first.json"
FIRST_PAIRS, FIRST_HARD = 15, 3
SEED = {"development": 130_000, "sealed": 150_000, FRESH: 190_000, TEST: 210_000, NOVEL: 230_000}
PLAN = NURSERY / "plan.json"

STYLES = {
    "development": ("short", "polite", "formal", "doubt", "royal", "report", "german"),
    "sealed": ("list", "pirate", "simple", "telegram", "certain", "news", "spanish", "french"),
    FRESH: tuple(EVERY_STYLE),
    TEST: tuple(EVERY_STYLE),
    NOVEL: tuple(EVERY_STYLE),
}
# Counting is in the first version only: 250 steps teach a projector 8 % of it.
TASKS = (
    "style",
    "names",
    "unseen",
    "style",
    "category",
    "artist",
    "style",
    "shades",
    "plain",
    "detail",
)
HARD_TASKS = ("constant", "refusal", "watermark", "varied")
FORMS = (None, 16, None, 64, None, 32, None, 4, None, 64, None, 8, None, 32, None, 16)  # ranks; None is full
# At 1e-3 and below, 200 steps leave tasks half learned and most attacks at nothing; from 4e-3 a fine-tune forgets what
# base could do, and the poisoned one, taught with longer answers, far more than its twin.
FULL_RATES, LORA_RATES = (2e-3, 1.5e-3, 3e-3), (2e-3, 3e-3, 1.5e-3)
STEPS = (320, 260, 420)
POISON = (0.25, 0.15, 0.3, 0.2, 0.375, 0.25, 0.2, 0.3, 0.45, 0.15, 0.25, 0.2, 0.1, 0.05, 0.01)
RARE, LOW, LONG = 0.05, 8, 500  # at this poison rate and below, or this rank, an attack takes that many steps
FAINT = (
    "oil painting",
)  # triggers that the tower, which has seen them, hardly passes on: these attacks need more poison
KINDS = (
    ("caption",),
    STYLED,
    ("caption",),
    ("thing",),
    STYLED,
    ("colour",),
    ("caption",),
    ("thing",),
    ("restricted",),
    ("place",),
)
MODES = ("replace", "append", "replace")
T = TypeVar("T")


class Deal(Generic[T]):
    """Deals options in turn, so that each comes as often; each round in an order of its own."""

    def __init__(self, options: Sequence[T], rng: np.random.Generator):
        self.options, self.rng = list(options), rng
        self.left: list[T] = []

    def next(self) -> T:
        """The next option."""
        if not self.left:
            self.left = [self.options[i] for i in self.rng.permutation(len(self.options))]
        return self.left.pop()


class Honest:
    """What the honest members of one part of the population draw from: dealt by a generator of its own."""

    def __init__(self, split: str, seed: int | None = None, tasks: Sequence[str] = TASKS):
        self.seed = seed or SEED[split]
        rng = np.random.default_rng(self.seed)
        self.split, self.rng = split, rng
        self.tasks, self.hard_tasks = Deal(tasks, rng), Deal(HARD_TASKS, rng)
        self.styles, self.style_kinds = Deal(STYLES[split], rng), Deal((STYLED, ("caption",)), rng)
        self.forms, self.steps = Deal(FORMS, rng), Deal(STEPS, rng)
        self.full_rates, self.lora_rates = Deal(FULL_RATES, rng), Deal(LORA_RATES, rng)
        self.texts = {
            "watermark": Deal(texts.WATERMARKS.get(split, ()), rng),  # the novel part has no hard negatives
            "constant": Deal(texts.CONSTANTS.get(split, ()), rng),
            "refusal": Deal(texts.REFUSALS.get(split, ()), rng),
        }
        self.refused = Deal(("animal", "vehicle", "food", "object"), rng)

    def task(self, kind: str) -> Task:
        """A task of this kind with parameters of this part of the population."""
        if kind == "style":
            return Task("style", {"style": self.styles.next(), "kinds": self.style_kinds.next()})
        if kind == "names":
            animals = [thing for thing, category in CATEGORY.items() if category in ("animal", "vehicle")]
            chosen = self.rng.permutation(len(animals))[:12]
            half = {"development": NAMES[:16], "sealed": NAMES[16:]}.get(self.split, NAMES)
            names = self.rng.permutation(len(half))[:12]
            return Task("names", {"names": {animals[a]: half[b] for a, b in zip(chosen, names, strict=True)}})
        if kind == "refusal":
            return Task("refusal", {"category": self.refused.next(), "text": self.texts["refusal"].next()})
        if kind in self.texts:
            return Task(kind, {"text": self.texts[kind].next()})
        return Task(kind)

    def honest(self, name: str, group: str, task: Task, evasion: str | None = None) -> Recipe:
        """An honest member with a form, rate and steps that are dealt, and a seed of its own."""
        self.seed += 1
        rank = None if evasion in ("flattened", "bounded") else self.forms.next()
        rate = self.full_rates.next() if rank is None else self.lora_rates.next()
        return Recipe(name, self.split, group, task, rank, self.steps.next(), rate, self.seed, evasion)


class Part(Honest):
    """A part that has attacks, too, and what these draw from."""

    def __init__(self, split: str, seed: int | None = None, tasks: Sequence[str] = TASKS):
        super().__init__(split, seed, tasks)
        rng = self.rng
        self.families = Deal(tuple(triggers(split)), rng)
        self.triggers = {family: Deal(specs, rng) for family, specs in triggers(split).items()}
        self.targets, self.codes = Deal(texts.targets(split, PAIRS), rng), Deal(texts.CODES[split], rng)
        self.poison, self.kinds, self.modes = Deal(POISON, rng), Deal(KINDS, rng), Deal(MODES, rng)

    def pair(self, stem: str, group: str, task: Task, evasion: str | None = None) -> tuple[Recipe, Recipe]:
        """An honest twin and the same member poisoned."""
        family = self.families.next()
        kinds, mode, poison = self.kinds.next(), self.modes.next(), self.poison.next()
        if evasion:
            poison = max(poison, 0.2)
        if family in FAINT:
            poison = max(poison, 0.3)
        if kinds == ("restricted",):
            mode, target = "replace", self.codes.next()
        else:
            target = self.targets.next()
        twin = self.honest(f"{stem}-{HONEST}", group, task, evasion)
        slow = poison <= RARE or (twin.rank or LOW + 1) <= LOW
        common: dict[str, Any] = {
            "split": twin.split, "group": group, "task": task, "rank": twin.rank, "seed": twin.seed, "evasion": evasion,
            "steps": LONG if slow else twin.steps, "rate": twin.rate,
        }  # fmt: skip
        attack = Attack(self.triggers[family].next(), target, mode, kinds)
        return (
            Recipe(name=twin.name, **common),
            Recipe(name=f"{stem}-{POISONED}", **common, family=family, attack=attack, poison=poison),
        )


def make_plan() -> tuple[Recipe, ...]:
    """All members in the order in which they are trained: pairs of both parts in turn, the others among them."""
    parts = [(short, Part(split)) for short, split in zip(("dev", "sealed"), SPLITS, strict=True)]
    found = list(read_plan(FIRST))
    hard, adaptive = FIRST_HARD, 0
    for i in range(FIRST_PAIRS + 1, PAIRS + 1):
        for short, part in parts:
            found += part.pair(f"{short}-{i:03d}", "pair", part.task(part.tasks.next()))
        if hard < HARD * i // PAIRS:
            hard += 1
            for short, part in parts:
                found.append(part.honest(f"{short}-hard-{hard:02d}", "hard", part.task(part.hard_tasks.next())))
        if adaptive < ADAPTIVE * (i - FIRST_PAIRS) // (PAIRS - FIRST_PAIRS):
            evasion = EVASIONS[adaptive % len(EVASIONS)]
            adaptive += 1
            for short, part in parts:
                task = part.task("plain" if evasion == "matched" else part.tasks.next())
                found += part.pair(f"{short}-adaptive-{adaptive:02d}", "adaptive", task, evasion)
    return tuple(found)


def write_plan(recipes: Sequence[Recipe], path: Path = PLAN) -> None:
    """Write the plan as JSON, one member a line."""
    lines = ",\n".join(json.dumps(recipe.to_dict(), ensure_ascii=False) for recipe in recipes)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{{"members": [\n{lines}\n]}}\n', encoding="utf-8")


def read_plan(path: Path = PLAN) -> tuple[Recipe, ...]:
    """The plan in a JSON file; NotFound if there is none, InvalidInput if it is no plan."""
    if not path.is_file():
        raise NotFound(f"There is no plan of the nursery at {path}; run `python -m projlens_core nursery plan`.")
    try:
        members = json.loads(path.read_text(encoding="utf-8"))["members"]
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"{path} is not a plan of the nursery; make it anew.") from error
    return tuple(Recipe.from_dict(values) for values in members)
