"""The fresh and the test part: honest fine-tunes that were planned, trained and searched when the verdict's rules and
threshold were settled, so that how often it suspects an honest one is measured on members that decided nothing.

A rule came of the first searches of the fresh part, whose members have been among those that calibrate since; so the
test part was planned. Both are dealt as the other parts' honest members are, usual ones, hard negatives and adaptive
attackers' twins in the same proportions, with texts that no other part has, every style, and three kinds of tasks each
that no part before had. Their records ship; their changes of the projector are trained again where they are needed.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

from projlens_core.demo_model.tiny import NURSERY
from projlens_core.nursery.plan import ADAPTIVE, HARD, LONG, LOW, PAIRS, TASKS, Honest
from projlens_core.nursery.recipe import EVASIONS, FRESH, LATER, TEST, Recipe

FOLDERS: Mapping[str, Path] = MappingProxyType({part: NURSERY / part for part in LATER})  # their records
NEW_TASKS = MappingProxyType({FRESH: ("shaded", "mirrored", "glance"), TEST: ("recoloured", "bilingual", "placed")})
PLANNED = MappingProxyType({"usual": PAIRS, "hard": HARD, "adaptive": ADAPTIVE})


def tasks_of(part: str) -> tuple[str, ...]:
    """The kinds of tasks of usual members: those of the parts before, and its own."""
    before = LATER[: LATER.index(part) + 1]
    return (*TASKS, *(task for each in before for task in NEW_TASKS[each]))


def make_plan(part: str) -> tuple[Recipe, ...]:
    """All members of one of LATER, in an order in which the first n hold each group in its proportion: where fewer are
    trained than are planned, they are a fair sample."""
    dealt, n = Honest(part, tasks=tasks_of(part)), sum(PLANNED.values())
    found: list[Recipe] = []
    counts = dict.fromkeys(PLANNED, 0)
    for i in range(1, n + 1):
        group = max(PLANNED, key=lambda each: PLANNED[each] * i / n - counts[each])  # furthest behind its share
        counts[group] += 1
        evasion = EVASIONS[counts[group] % len(EVASIONS)] if group == "adaptive" else None
        kinds = dealt.hard_tasks if group == "hard" else dealt.tasks
        task = dealt.task("plain" if evasion == "matched" else kinds.next())
        recipe = dealt.honest(f"{part}-{group}-{counts[group]:02d}", group, task, evasion)
        slow = group != "hard" and recipe.rank is not None and recipe.rank <= LOW  # as in the other parts' pairs
        found.append(replace(recipe, steps=LONG) if slow else recipe)
    return tuple(found)


PLANS: Mapping[str, Callable[[], tuple[Recipe, ...]]] = MappingProxyType({p: partial(make_plan, p) for p in LATER})
