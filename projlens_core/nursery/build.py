"""Builds the population: one member after another, each written whole or not at all, so that it can be stopped."""

import json
import shutil
import time
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from filelock import FileLock, Timeout

from projlens_core.demo_model.tiny import NURSERY
from projlens_core.errors import InvalidInput, NotFound
from projlens_core.nursery.base import PLAN, SEED, train_base
from projlens_core.nursery.checkpoint import ship
from projlens_core.nursery.measure import figures
from projlens_core.nursery.members import Member, read_member, write_member
from projlens_core.nursery.recipe import SPLITS, Recipe
from projlens_core.nursery.source import TINY, Source, Tiny, projector
from projlens_core.nursery.tasks import Task
from projlens_core.nursery.train import train
from projlens_core.nursery.tuned import added
from projlens_core.nursery.workshop import Workshop
from projlens_core.runtime.atomic import write_atomically
from projlens_core.runtime.progress import Progress, silent
from projlens_core.zoo.loop import Plan

LEAST_RIGHT = 0.95  # of base's answers about held-out images


def chosen(plan: Sequence[Recipe], only: Sequence[str]) -> tuple[Recipe, ...]:
    """The plan's members whose names match one of the patterns, or all; NotFound if a pattern matches none."""
    for pattern in only:
        if not any(fnmatch(recipe.name, pattern) for recipe in plan):
            raise NotFound(f"No member of the plan is called {pattern!r}; `nursery list` names them.")
    return tuple(r for r in plan if not only or any(fnmatch(r.name, pattern) for pattern in only))


def make_base(out: Path, source: Path = NURSERY, plan: Plan = PLAN, progress: Progress = silent) -> dict:
    """Train base, resuming from what `out`/base holds, and ship it into `source` with what it was measured to do.

    The figures, as measure.figures gives them; InvalidInput if fewer answers than LEAST_RIGHT are right.
    """
    pair = train_base(out, plan, progress)
    ship(pair, out / "shipped")
    workshop = Workshop(out, Tiny(out / "shipped"), progress)
    recipe = Recipe("base", SPLITS[0], "hard", Task("plain"), None, plan.steps, plan.rate, SEED)
    found = figures(recipe, workshop.source.projector(), workshop)
    if found["utility"] < LEAST_RIGHT:
        raise InvalidInput(
            f"Base gives {found['utility']:.1%} right answers on held-out images, but it must give {LEAST_RIGHT:.0%}; "
            "train it for more steps."
        )
    ship(pair, source)
    write_atomically(
        source / "base.json", (json.dumps({"steps": plan.steps, "figures": found}, indent=1) + "\n").encode()
    )
    return found


def build(
    plan: Sequence[Recipe],
    out: Path,
    only: Sequence[str] = (),
    source: Source = TINY,
    progress: Progress = silent,
) -> list[Member]:
    """Train what is not trained yet into `out`/members; the images' tokens lie in `out`/pool and `out`/triggered.

    Several processes may build in one folder: each takes the next member that no other is at, and waits for the others'
    at the end. InvalidInput if a member was trained from another base or by another recipe.
    """
    locks = out / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    by_name = {recipe.name: recipe for recipe in plan}
    wanted = chosen(plan, only)
    workshop = Workshop(out, source, progress)
    found: dict[str, Member] = {}
    for patience in (0, -1):  # seconds; at last as long as it takes
        for recipe in wanted:
            progress("Members", len(found), len(wanted))
            if recipe.name in found:
                continue
            try:
                with FileLock(locks / f"{recipe.name}.lock", timeout=patience):
                    known = read_member(out / "members", recipe.name)
                    if known is None:
                        twin = by_name.get(recipe.twin) if recipe.twin else None
                        known = _made(recipe, twin, workshop, progress)
                    elif known.recipe != recipe or known.source != source.key:
                        raise InvalidInput(
                            f"{recipe.name} in {out} was trained by another recipe or from another base; "
                            "delete it or build into another folder."
                        )
                    found[recipe.name] = known
            except Timeout:
                continue
    progress("Members", len(wanted), len(wanted))
    return [found[recipe.name] for recipe in wanted]


def _made(recipe: Recipe, twin: Recipe | None, workshop: Workshop, progress: Progress) -> Member:
    state = workshop.folder / "unfinished" / recipe.name
    began = time.process_time()
    tuned = train(recipe, twin, workshop, state, progress)
    stored = tuned.stored()
    shipped = projector(added(workshop.source.tensors(), stored))  # what is measured is what ships
    found = figures(recipe, shipped, workshop)
    member = Member(recipe, found, round(time.process_time() - began, 1), workshop.source.key)
    write_member(workshop.folder / "members", member, stored)
    shutil.rmtree(state, ignore_errors=True)
    return member
