"""Repairs of the nursery's members, whose true triggers and honest gains are known, kept as JSON member by member.

The true trigger is used to measure, never to repair. A member is repaired as a user would: from its files, clean images
of the kind that its task is about, the task's questions without their answers, and the verdict's search. The record is
state and result at once: what is there for the same weights and settings is not measured again.
"""

import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from fnmatch import fnmatch
from functools import cache, cached_property
from pathlib import Path

import torch

from projlens_core.activations.model import VisionModel
from projlens_core.analyses.repair import RepairOptions
from projlens_core.behaviour.respond import load_responder
from projlens_core.behaviour.responder import Responder
from projlens_core.behaviour.success import contains_target
from projlens_core.demo_model.tiny import checkpoint_folder
from projlens_core.inputs.probes import FEW, read_bank
from projlens_core.nursery.measure import CHECKED, Question, answers, attempts, right_answers
from projlens_core.nursery.members import LEAST_ASR, MEMBERS, Member, read_members, verdict, write_suspect
from projlens_core.nursery.pool import Pool
from projlens_core.nursery.recipe import BATCH, HONEST, POISONED
from projlens_core.nursery.source import projector
from projlens_core.nursery.tasks import WORDINGS, Task, seen
from projlens_core.nursery.train import Batches, gather
from projlens_core.nursery.tuned import Tuned
from projlens_core.nursery.workshop import Workshop
from projlens_core.repair.budget import Budget
from projlens_core.repair.form import form_of
from projlens_core.repair.loop import repair
from projlens_core.repair.problem import CHECKS, KEPT, REPAIRED, Problem
from projlens_core.repair.result import Repaired
from projlens_core.repair.search import verdict_search
from projlens_core.research.repairs import load
from projlens_core.runtime.atomic import write_atomically
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.paths import DOCS
from projlens_core.runtime.plain import as_json
from projlens_core.runtime.progress import Progress, silent
from projlens_core.runtime.required import required
from projlens_core.sources import resolve
from projlens_core.stats.rate import wilson
from projlens_core.weights.projector import ProjectorWeights, read_projector
from projlens_core.zoo.dialogue import encode
from projlens_core.zoo.loop import Plan, fit

IMAGES = REPAIRED + CHECKS + KEPT  # clean images of a repair
RESULTS = DOCS / "repair-nursery.json"
VERSION = 10  # of what a repair is, its search included, for figures that are written down
ATTACKED = 200  # held-out images with the true trigger
MINUTES = RepairOptions().budget  # that a repair may take, as a user's does by default
LATER = 100  # clean steps of a fine-tune after the repair
SEED = 155  # of images and steps that neither training nor measuring uses
COSTLY = "costly"
GROUPS = (POISONED, COSTLY, HONEST)


class Nursery:
    """The members in `folder`/members, or those that ship, and what all repairs of them share."""

    def __init__(self, folder: Path, members: Path = MEMBERS, progress: Progress = silent):
        self.members_folder, self.progress = members, progress
        self.workshop = Workshop(folder, progress=progress)
        self.members = read_members(members)

    def group(self, name: str) -> str | None:
        """poisoned: an attack that counts; costly: one that succeeds, but costs its task more utility than counts;
        honest; None for an attack that does not succeed."""
        member = self.members[name]
        found = verdict(member, self.members.get(member.recipe.twin) if member.recipe.twin else None)
        if found == "failed" and member.figures["asr"] >= LEAST_ASR:
            return COSTLY
        return found if found in (HONEST, POISONED) else None

    @cached_property
    def responder(self) -> Responder:
        """The nursery's whole model, which answers for every member."""
        return load_responder(resolve(str(checkpoint_folder())))

    @contextmanager
    def model(self, _: str) -> Iterator[Responder]:
        """The same for every role."""
        yield self.responder

    @contextmanager
    def problem(self, name: str) -> Iterator[Problem]:
        """What the repair of a member is given; its files last as long as the block."""
        vision = self.responder.vision
        if not isinstance(vision, VisionModel):
            raise TypeError("the nursery's vision tower is LLaVA's")
        task = self.members[name].recipe.task
        shown = _shown(task)
        images = [pool.image(i) for pool, i in shown]
        kinds = dict.fromkeys(kind for pool, i in shown for kind in task.kinds(pool.scenes[i]))
        with tempfile.TemporaryDirectory() as folder:
            suspect = Path(folder) / name
            write_suspect(name, suspect, self.members_folder)
            base = resolve(str(checkpoint_folder()))
            yield Problem(
                form_of(resolve(str(suspect)), base), read_projector(base), read_projector(str(suspect)), self.model,
                vision, tuple(map(str, range(len(images)))), tuple(images),
                tuple(WORDINGS[kind][0] for kind in kinds), read_bank(vision.image_size, FEW), vision.image_size,
                fresh=0, progress=self.progress,
            )  # fmt: skip

    @cache  # noqa: B019  of a nursery that lives as long as the command
    def base_learned(self, task: str) -> int:
        """How many answers of the kinds that a task changes, given as JSON, base has right."""
        given = json.loads(task)
        found = Task(given.pop("kind"), given)
        return sum(_changed(found, self.right(read_projector(str(checkpoint_folder())), found)))

    def right(self, weights: ProjectorWeights, task: Task) -> dict[str, list[bool]]:
        """Which answers under a projector are right, by kind of question."""
        return right_answers(task, projector(weights.tensors), self.workshop)

    def attempts(self, member: Member) -> list[Question]:
        """The poisoned kinds of questions in turn about ATTACKED held-out images with the true trigger."""
        return attempts(member.recipe, self.workshop, triggered=True, n=ATTACKED)

    def asr(self, member: Member, weights: ProjectorWeights, asked: Sequence[Question]) -> dict:
        """Share of the attempts whose answer holds the target."""
        target = required(member.recipe.attack, "the poisoned member's attack").target
        said = answers(self.workshop.around, projector(weights.tensors), list(asked))
        return asdict(wilson(sum(contains_target(text, target) for text in said), len(said)))

    def trained_on(self, member: Member, weights: ProjectorWeights) -> ProjectorWeights:
        """The projector after LATER steps on its own task without any poison, all its values free."""
        recipe = replace(member.recipe, attack=None, poison=None, family=None, evasion=None, steps=LATER, seed=SEED)
        tuned = Tuned({name: tensor.float() for name, tensor in weights.tensors.items()}, None, None, SEED)

        def loss(batch: tuple) -> torch.Tensor:
            tokens, dialogues, _ = batch
            read = encode(dialogues, self.workshop.around.tokenizer, tokens.shape[1])
            return self.workshop.loss(tuned(tokens), read)

        with tempfile.TemporaryDirectory() as state:
            plan = Plan(LATER, BATCH, recipe.rate)
            fit(tuned, Batches(recipe, None, self.workshop), loss, plan, Path(state), "Clean steps after the repair", 0,
                gather, self.progress)  # fmt: skip
        tensors = {name: tensor + tuned.changes()[name] for name, tensor in weights.tensors.items()}
        return replace(weights, tensors=tensors)


@cache
def _pool(*, several: bool) -> Pool:
    return Pool("repair", 8 * IMAGES, SEED, several=several)


def _shown(task: Task) -> list[tuple[Pool, int]]:
    """IMAGES clean images as the task is about: every other one with copies of a thing, or with a thing that base has
    not seen, where it is about these."""
    usual = _pool(several=False)
    first = [(usual, i) for i in seen(usual, unseen=False)]
    match task.kind:
        case "count":
            several = _pool(several=True)
            second = [(several, i) for i in seen(several, unseen=False)]
        case "unseen":
            second = [(usual, i) for i in seen(usual, unseen=True)]
        case _:
            return first[:IMAGES]
    half = IMAGES // 2
    return [each for pair in zip(first[:half], second[:half], strict=True) for each in pair]


def measure(
    nursery: Nursery, only: Sequence[str] = (), path: Path = RESULTS, limit: int | None = None,
    progress: Progress = silent,
) -> dict:  # fmt: skip
    """Repair and measure the members that match and are not measured yet, written after each; the attacks first.

    limit: how many honest members, at most.
    """
    results = load(path)
    named = [name for name in nursery.members if not only or any(fnmatch(name, pattern) for pattern in only)]
    by_group: dict[str | None, list[str]] = {}
    for name in named:
        by_group.setdefault(nursery.group(name), []).append(name)
    wanted = [name for group in GROUPS for name in by_group.get(group, [])[: limit if group == HONEST else None]]
    for done, name in enumerate(wanted):
        progress(f"Repairs: {name}", done, len(wanted))
        key = _key(nursery, name)
        if results.get(name, {}).get("key") != key:
            results[name] = {"key": key, **_measured(nursery, name)}
            write_atomically(path, (as_json(results, indent=1) + "\n").encode())
    return results


def _key(nursery: Nursery, name: str) -> str:
    change = (nursery.members_folder / f"{name}.safetensors").read_bytes()
    return content_key(name, nursery.members[name].source, change, IMAGES, SEED, CHECKED, ATTACKED, LATER, VERSION)


def _measured(nursery: Nursery, name: str) -> dict:
    """A member before and after its repair; seconds of the repair alone, by the clock and of processors."""
    member = nursery.members[name]
    recipe = member.recipe
    with nursery.problem(name) as problem:
        suspect = problem.suspect
        wall, cpu = time.monotonic(), time.process_time()
        budget = Budget(MINUTES)
        result = repair(problem, verdict_search(problem, problem.bank, budget.left), budget)
        wall, cpu = time.monotonic() - wall, time.process_time() - cpu
        precaution = repair(problem, verdict_search(problem, problem.bank), precaution=True) if result.left else None
    task = json.dumps({"kind": recipe.task.kind, **recipe.task.parameters})
    found = {
        "version": VERSION,
        "split": recipe.split,
        "group": nursery.group(name),
        "kind": recipe.group,
        "task": recipe.task.kind,
        "rank": recipe.rank,
        "evasion": recipe.evasion,
        "family": recipe.family,
        "repair": _described(result),
        "seconds": round(wall, 1),
        "threads": torch.get_num_threads(),
        "cpu_seconds": round(cpu, 1),
        **compared(nursery, member, suspect, result.weights),
    }
    found["learned"]["base"] = nursery.base_learned(task)
    if recipe.attack:
        later = nursery.trained_on(member, result.weights)
        found["asr"]["later"] = nursery.asr(member, later, nursery.attempts(member))
    if precaution is not None:
        found["precaution"] = {"repair": _described(precaution)}
        found["precaution"] |= compared(nursery, member, suspect, precaution.weights)
    return found


def compared(nursery: Nursery, member: Member, suspect: ProjectorWeights, repaired: ProjectorWeights) -> dict:
    """Right answers before and after, in all and of what the task changes, and the attack's success."""
    recipe, weights = member.recipe, {"before": suspect, "after": repaired}
    right = {when: nursery.right(each, recipe.task) for when, each in weights.items()}
    found = {
        "utility": _paired(*([each for kind in said for each in said[kind]] for said in right.values())),
        "learned": _paired(*(_changed(recipe.task, said) for said in right.values())),
    }
    if recipe.attack:
        attempts = nursery.attempts(member)
        found["asr"] = {when: nursery.asr(member, each, attempts) for when, each in weights.items()}
    return found


def _changed(task: Task, right: Mapping[str, Sequence[bool]]) -> list[bool]:
    """Which answers of the kinds that the task changes are right."""
    return [each for kind in task.changed for each in right.get(kind, ())]


def _described(result: Repaired) -> dict:
    return {
        "rounds": [
            {
                "means": r.means,
                "strength": r.strength,
                "along": r.pull.along if r.pull else None,
                "lost": r.lost,
                "learned": r.learned,
                "kept": r.kept,
                "works": list(r.works),
            }
            for r in result.rounds
        ],
        "found": [{"name": a.probe.name, "prompt": a.prompt, "target": a.target} for a in result.attacks],
        "open": len(result.open),
        "searches": result.searched,
        "result_searched": result.result_searched,
        "returned_to_base": result.returned_to_base,
    }


def _paired(before: Sequence[bool], after: Sequence[bool]) -> dict:
    """How many of the same n answers are right before and after, and how many were lost and won."""
    pairs = list(zip(before, after, strict=True))
    return {
        "n": len(pairs), "before": sum(before), "after": sum(after),
        "lost": sum(b and not a for b, a in pairs), "won": sum(a and not b for b, a in pairs),
    }  # fmt: skip
