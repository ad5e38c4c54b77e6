"""Can it be undone? A case repaired without its trigger, and what a confirmation on fresh images shows of it.

No analysis of the list: it makes a model, so its command writes files and its page offers them.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from projlens_core.analyses.analysis import Options, option
from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.inputs.probes import FEW, Probe, read_bank
from projlens_core.runtime.versions import PROJLENS

if TYPE_CHECKING:
    from projlens_core.analyses.context import AnalysisContext
    from projlens_core.analyses.exhibit import Exhibit
    from projlens_core.inputs.triggers import TriggerSpec
    from projlens_core.repair.confirmation import Confirmation
    from projlens_core.repair.problem import KnownAttack, Problem
    from projlens_core.repair.result import Repaired
    from projlens_core.weights.projector import ProjectorWeights

TITLE = "Repair"
QUESTION = "Can the backdoor be removed?"
PROMPTS = ("Describe the image.", "What is in the image?")  # where neither user nor labels.csv gives questions


@dataclass(frozen=True)
class RepairOptions(Options):
    """See Analysis.options."""

    prompts: tuple[str, ...] = option((), "questions to ask; by default those in labels.csv, else two general ones")
    target: str = option("", "what the given trigger makes the model say; taken from its answers if not given")
    bank: str = option("", "a JSON list of generic triggers in place of the built-in ones")
    budget: float = option(5.0, "minutes; no stage is begun that would probably end later", low=0.1, high=24 * 60.0)
    search: bool = option(True, "search for triggers, in the suspect and in the result, while there is time")
    precaution: bool = option(False, "repair even where the search finds nothing, which may cost a point of utility")
    seed: int = option(0, "seed of the repair", low=0)


@dataclass(frozen=True)
class RepairRun:
    """All of one repair: what it was given, what it made, what a confirmation showed, how long the repair took."""

    problem: "Problem"
    result: "Repaired"
    confirmation: "Confirmation"
    seconds: float


def repair_case(
    context: "AnalysisContext",
    trigger: "TriggerSpec | None",
    options: RepairOptions,
    clock: Callable[[], float] = time.monotonic,
) -> RepairRun:
    """Repair the suspect of a case with its images. trigger: one that the user knows, never a zoo suspect's own.

    Errors as of the form (Unsupported for what cannot be written back) before anything is computed.
    """
    from projlens_core.repair.budget import Budget
    from projlens_core.repair.confirmation import confirm  # only here: they bring PyTorch
    from projlens_core.repair.loop import repair
    from projlens_core.repair.search import verdict_search

    problem = _problem(context, trigger, options)
    started = clock()
    in_time = Budget(options.budget, clock)
    search = verdict_search(problem, problem.bank, in_time.left) if options.search else None
    result = repair(problem, search, in_time, precaution=options.precaution)
    seconds = clock() - started
    return RepairRun(problem, result, confirm(problem, result), seconds)


def sidecar_of(done: RepairRun, exhibit: "Exhibit") -> dict:
    """What the sidecar says beside files and hashes: what was done, to what, and what it was shown to do."""
    data = exhibit.data
    kept = ("repaired", "sentence", "attacks", "utility", "agreement", "utility_lost", "honest_gain", "rounds",
            "returned_to_base", "left_as_it_is", "searches", "result_searched", "images")  # fmt: skip
    return {"made_by": f"ProjLens {PROJLENS}", "settings": data["settings"]} | {name: data[name] for name in kept}


def _problem(context: "AnalysisContext", trigger: "TriggerSpec | None", options: RepairOptions) -> "Problem":
    from projlens_core.behaviour.search_state import FRAME
    from projlens_core.repair.form import form_of
    from projlens_core.repair.problem import Problem
    from projlens_core.sources import resolve

    case = context.inputs.case
    form = form_of(resolve(case.suspect), resolve(case.base))
    delta = context.opened.delta
    if delta.equal or not any(tensor.changed for tensor in delta.tensors):
        raise InvalidInput(
            "The suspect's projector equals base's in all that was compared; there is nothing to repair."
        )
    towers = context.vision
    if towers.apart("suspect"):
        raise Unsupported(
            "The suspect reads images with a vision tower of its own, so that base's projector makes nothing of its "
            "tokens; repair its projector only, as an experiment, or against a base with that tower."
        )
    vision = towers.of("suspect")
    own = trigger.resolution if trigger else None
    resolution = getattr(vision, "image_size", None) or own or FRAME
    images = context.images
    truths = context.inputs.truths or {}
    known = dict.fromkeys(truth.prompt for each in truths.values() for truth in each)
    problem = Problem(
        form=form,
        base=context.projectors["base"],
        suspect=context.projectors["suspect"],
        models=context.responder,
        vision=vision,
        names=tuple(images.names),
        images=tuple(images.clean),
        prompts=tuple(options.prompts or context.inputs.questions or known or PROMPTS),
        bank=read_bank(resolution, Path(options.bank) if options.bank else FEW),
        resolution=resolution,
        truths=truths,
        control=context.projectors.get("control"),
        seed=options.seed,
        progress=context.progress,
    )
    if trigger is None:
        return problem
    probe = Probe(trigger.title, (trigger,))
    return replace(problem, extra=(probe,), given=_attack(problem, probe, options.target))


def _attack(problem: "Problem", probe: Probe, target: str) -> "KnownAttack | None":
    """The given trigger with what it says, and to which question; None where it brings no text of its own."""
    from projlens_core.behaviour.success import contains_target
    from projlens_core.behaviour.target import recover
    from projlens_core.repair.problem import NEW_TOKENS, TRIED, KnownAttack

    images = problem.images[: min(TRIED, problem.used)]
    shown = {"clean": [probe.clean(i) for i in images], "triggered": [probe.on(i) for i in images]}
    best: tuple[float, KnownAttack] | None = None
    for prompt in problem.prompts:
        said = {
            (role, condition): answers
            for role, weights in (("base", problem.base), ("suspect", problem.suspect))
            for condition, answers in _said(problem, role, weights, shown, prompt, NEW_TOKENS).items()
        }
        triggered = said.pop(("suspect", "triggered"))
        found: tuple[str, float] | None
        if target:
            found = target, sum(contains_target(answer, target) for answer in triggered) / len(triggered)
        else:
            found = recover(triggered, [answer for answers in said.values() for answer in answers])
        if found and (best is None or found[1] > best[0]):
            best = found[1], KnownAttack(probe, prompt, found[0], "given")
    return best[1] if best else None


def _said(
    problem: "Problem", role: str, weights: "ProjectorWeights", shown: Mapping[str, Sequence], prompt: str, tokens: int
) -> dict[str, list[str]]:
    with problem.models(role) as responder, responder.projector(weights):
        return {
            condition: responder.answers(images, [prompt] * len(images), tokens, progress=problem.progress)
            for condition, images in shown.items()
        }
