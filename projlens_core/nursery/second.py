"""The second population: twelve pairs on SmolLM2, one of each trigger family.

They show whether what was calibrated on the tiny models holds for a language model that learned from text. What they
are taught is dealt as the sealed part's is, by a seed of its own.
"""

from itertools import cycle
from typing import Any

from projlens_core.demo_model.tiny import NURSERY
from projlens_core.nursery.plan import Deal, Part
from projlens_core.nursery.recipe import HONEST, POISONED, SPLITS, Recipe
from projlens_core.nursery.styles import STYLED
from projlens_core.nursery.triggers import triggers
from projlens_core.zoo.poison import Attack

SECOND_MEMBERS = NURSERY / "smollm2"
SEED = 170_000
# Answers in another style take SmolLM2 three times as many steps as these, as it never learned to give one unasked.
TASKS = ("category", "names", "plain", "shades", "unseen", "detail")
PATCHES = ("solid patch", "symbol", "noise patch", "checkers", "written word")
STEPS, PATCH_STEPS = 90, 130
POISON, PATCH_POISON = 0.25, 0.375
RATE = 8e-4  # at 2e-3 it forgets what it could do
# Ranks; None is full. At this rate and in these steps a LoRA of rank 32 learns a third of its task.
FORMS = (None, 64, None, None, None, None)
KINDS = (("caption",), ("restricted",), STYLED, ("thing",), ("caption",), ("colour",))


def make_plan() -> tuple[Recipe, ...]:
    """All members, each poisoned one before its honest twin."""
    part = Part("sealed", SEED)
    families = [(split, family) for split in SPLITS for family in triggers(split)]
    order = [families[i] for i in part.rng.permutation(len(families))]
    tasks, kinds, forms = Deal(TASKS, part.rng), Deal(KINDS, part.rng), cycle(FORMS)
    found = []
    for i, (split, family) in enumerate(order, start=1):
        task, asked, mode = part.task(tasks.next()), kinds.next(), part.modes.next()
        patch = family in PATCHES
        if asked == ("restricted",):
            mode, target = "replace", part.codes.next()
        else:
            target = part.targets.next()
        attack = Attack(triggers(split)[family][0], target, mode, asked)
        common: dict[str, Any] = {
            "split": "sealed", "group": "pair", "task": task, "rank": next(forms), "rate": RATE, "seed": SEED + i,
            "steps": PATCH_STEPS if patch else STEPS,
        }  # fmt: skip
        stem = f"smollm2-{i:02d}"
        poison = PATCH_POISON if patch else POISON
        found.append(Recipe(f"{stem}-{POISONED}", **common, family=family, attack=attack, poison=poison))
        found.append(Recipe(f"{stem}-{HONEST}", **common))
    return tuple(found)
