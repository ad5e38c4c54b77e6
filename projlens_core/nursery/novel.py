"""The novel part: attacks by triggers of kinds that no other part has, each with its honest twin.

It was planned and trained when the verdict stood, to measure what the search finds that nobody had in mind when it was
made: tints, gradients, grids, frames, bars, marked corners, faces, emblems, dots. Targets, seeds and codes are its own;
tasks are of all kinds that any part has. Its records ship; its changes of the projector are trained again.
"""

from projlens_core.demo_model.tiny import NURSERY
from projlens_core.nursery.later import tasks_of
from projlens_core.nursery.plan import Part
from projlens_core.nursery.recipe import NOVEL, TEST, Recipe

FOLDER = NURSERY / NOVEL
PAIRS = 40


def make_plan() -> tuple[Recipe, ...]:
    """All members, each honest twin before its attack; every family of triggers comes once in each ten pairs."""
    part = Part(NOVEL, tasks=tasks_of(TEST))
    stems = [f"{NOVEL}-{i:03d}" for i in range(1, PAIRS + 1)]
    return tuple(each for stem in stems for each in part.pair(stem, "pair", part.task(part.tasks.next())))
