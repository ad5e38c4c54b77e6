"""The fresh part: honest fine-tunes that were planned, trained and searched when the verdict's rules and threshold were
settled, so that how often it suspects an honest one is measured on members that decided nothing.

They are dealt as the other parts' honest members are, usual ones, hard negatives and adaptive attackers' twins in the
same proportions, with texts that neither of these has, every style, and three kinds of tasks that nobody had in mind
when the rules were made. Their records ship; their changes of the projector are trained again where they are needed.
"""

from dataclasses import replace

from projlens_core.demo_model.tiny import NURSERY
from projlens_core.nursery.plan import ADAPTIVE, HARD, LONG, LOW, PAIRS, TASKS, Honest
from projlens_core.nursery.recipe import EVASIONS, FRESH, Recipe

FRESH_MEMBERS = NURSERY / "fresh"
NEW_TASKS = ("shaded", "mirrored", "glance")
PLANNED = {"usual": PAIRS, "hard": HARD, "adaptive": ADAPTIVE}


def make_plan() -> tuple[Recipe, ...]:
    """All members, in an order in which the first n hold each group in its proportion: where fewer are trained than are
    planned, they are a fair sample."""
    part, n = Honest(FRESH, tasks=(*TASKS, *NEW_TASKS)), sum(PLANNED.values())
    found: list[Recipe] = []
    counts = dict.fromkeys(PLANNED, 0)
    for i in range(1, n + 1):
        group = max(PLANNED, key=lambda each: PLANNED[each] * i / n - counts[each])  # furthest behind its share
        counts[group] += 1
        evasion = EVASIONS[counts[group] % len(EVASIONS)] if group == "adaptive" else None
        kinds = part.hard_tasks if group == "hard" else part.tasks
        task = part.task("plain" if evasion == "matched" else kinds.next())
        recipe = part.honest(f"{FRESH}-{group}-{counts[group]:02d}", group, task, evasion)
        slow = group != "hard" and recipe.rank is not None and recipe.rank <= LOW  # as in the other parts' pairs
        found.append(replace(recipe, steps=LONG) if slow else recipe)
    return tuple(found)
