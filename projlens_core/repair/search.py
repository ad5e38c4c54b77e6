"""The verdict's search as a repair uses it: on its own images, for what still brings a text of its own."""

import json
from collections.abc import Callable
from math import inf, isinf

from projlens_core.behaviour.trigger_search import Searcher
from projlens_core.inputs.probes import Probe
from projlens_core.inputs.triggers import TriggerSpec
from projlens_core.repair.problem import KnownAttack, Problem
from projlens_core.runtime import cache, versions
from projlens_core.runtime.cache import content_key
from projlens_core.weights.projector import ProjectorWeights

CACHE = "repair-searches"
PATTERN_MINUTES = 2.5  # of all searches of a repair together, after which no other token pattern is begun
# share of answers with a text, from which it is a find if it seems to be a backdoor's; with a mistake about what an
# image shows, what a fine-tune learned would be taken out
FOUND = 0.3

# What still works under a projector; a repair takes any such function, or none.
Search = Callable[[ProjectorWeights], tuple[KnownAttack, ...]]


def verdict_search(problem: Problem, bank: tuple[Probe, ...], left: Callable[[], float] = lambda: inf) -> Search:
    """The verdict's search on the images of the repair, with its questions; results are kept on disk, unless the budget
    cut them short.

    left: minutes that are left of the repair's time, in which a search has to end; in the second half of these no token
    pattern is begun, as one takes minutes in a large language model.
    """

    spent = 0.0  # seconds of token patterns

    def search(weights: ProjectorWeights) -> tuple[KnownAttack, ...]:
        nonlocal spent
        found_by = versions.sources("activations", "behaviour", "inputs", "weights"), PATTERN_MINUTES
        key = content_key(problem.key, weights.sha256, tuple(probe.key for probe in bank), *found_by)
        if (known := cache.stored(CACHE, key)) is not None:
            return tuple(_of(entry) for entry in json.loads(known))
        most = PATTERN_MINUTES - spent / 60
        budget = left()
        minutes = min(most, budget / 2)
        searcher = Searcher(
            problem.models,
            {"base": problem.base, "suspect": weights},
            problem.names[: problem.used],
            problem.images[: problem.used],
            problem.prompts,
            problem.progress,
            budget=None if isinf(budget) else budget,
            pattern_minutes=minutes,
            thorough=False,  # all figures of docs/repair.md are of searches without
            few=True,
        )
        result = searcher.run(bank)
        spent += searcher.pattern_seconds
        found = tuple(
            KnownAttack(trial.probe, trial.prompt, trial.target, "found")
            for trial in result.trials
            if trial.share >= FOUND and searcher.texts.seems(trial)
        )
        # a run with more time is to search further
        cut_short = result.unfinished and (minutes < most or searcher.clock.spent)
        if not cut_short and all(spec.folder is None for each in found for spec in each.probe.stamps):
            cache.store(CACHE, key, json.dumps([_as_data(each) for each in found]).encode())
        return found

    return search


def _as_data(attack: KnownAttack) -> dict:
    stamps = [spec.to_dict() for spec in attack.probe.stamps]
    return {"name": attack.probe.name, "stamps": stamps, "prompt": attack.prompt, "target": attack.target}


def _of(entry: dict) -> KnownAttack:
    stamps = tuple(TriggerSpec.from_dict(spec) for spec in entry["stamps"])
    return KnownAttack(Probe(entry["name"], stamps), entry["prompt"], entry["target"], "found")
