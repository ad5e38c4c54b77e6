"""Repairs of the demo models against their true triggers, ours beside other methods, kept as JSON part by part.

The true trigger is used to measure, never to repair, but for the one method that is defined by it, which says so.
docs/repair.json is state and result at once: what is there for the same weights and settings is not measured again.
"""

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path

import torch
from PIL import Image

from projlens_core.activations.model import VisionModel
from projlens_core.activations.tokens import image_tokens
from projlens_core.behaviour.questions import in_turn
from projlens_core.behaviour.responder import Responder
from projlens_core.behaviour.scoring import Questions, Scorer
from projlens_core.behaviour.success import Truth, is_right
from projlens_core.cases.case import Case
from projlens_core.cases.models import Loaded
from projlens_core.inputs.probes import FEW, read_bank
from projlens_core.inputs.triggers import TriggerSpec, frame, stamp
from projlens_core.repair import methods
from projlens_core.repair.form import form_of
from projlens_core.repair.loop import VERSION, repair
from projlens_core.repair.problem import REPAIRED, Problem
from projlens_core.repair.utility import Known, agreement
from projlens_core.research import other_methods
from projlens_core.runtime.atomic import write_atomically
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.paths import DOCS
from projlens_core.runtime.plain import as_json
from projlens_core.runtime.progress import Progress, silent
from projlens_core.runtime.required import required
from projlens_core.sources import ZooEntry, resolve, zoo_catalogue
from projlens_core.stats.rate import wilson
from projlens_core.weights.projector import ProjectorWeights, read_projector
from projlens_core.zoo.dialogue import KINDS, example
from projlens_core.zoo.measure import SEED
from projlens_core.zoo.samples import held_out
from projlens_core.zoo.world import RESOLUTION, draw_compositions, render

RESULTS, DOCUMENT = DOCS / "repair.json", DOCS / "repair.md"
IMAGES = REPAIRED  # clean images of a repair, of compositions that no figure is measured on
IMAGE_SEED = 55
PROMPTS = ("Describe the picture.", "What is in the picture?", "What color is the background?", "Where is it?")
OURS = "ours"
Make = Callable[["DemoRepairs", Problem, ZooEntry], ProjectorWeights]


@dataclass(frozen=True)
class Method:
    """One way to repair: its title, how it is made, and whether it is told the true trigger and target."""

    title: str
    make: Make
    informed: bool = False


def _untold(make: other_methods.Make, shop: "DemoRepairs", problem: Problem, entry: ZooEntry) -> ProjectorWeights:
    """A method that needs nothing of the trigger."""
    return make(problem)


METHODS: dict[str, Method] = {
    OURS: Method("Ours, trigger unknown", lambda shop, problem, entry: repair(problem).weights),
    **{name: Method(title, partial(_untold, make)) for name, (title, make) in other_methods.OTHERS.items()},
    "tbar": Method("TBAR-like task arithmetic, told trigger and target", lambda shop, p, e: _tbar(shop, p, e),
                   informed=True),
}  # fmt: skip


class DemoRepairs:
    """The zoo's models, and the images that repairs see and that figures are measured on."""

    def __init__(self, n: int, models: Loaded, progress: Progress):
        self.n, self.models, self.progress = n, models, progress

    def responder(self, role: str = "base") -> AbstractContextManager[Responder]:
        """The zoo's language model; every role is answered for by the same."""
        return self.models.responder(Case("zoo:base", "zoo:clean-1"), self.progress, "base")

    @cached_property
    def images(self) -> list[Image.Image]:
        """Clean images for repairs."""
        drawn = draw_compositions(IMAGES, IMAGE_SEED, held_out=False)
        return [render(each, IMAGE_SEED * 100_000 + i) for i, each in enumerate(drawn)]

    def problem(self, name: str) -> Problem:
        """What a repair of a zoo model is given; nothing of its trigger."""
        with self.responder() as responder:
            vision = responder.vision
        if not isinstance(vision, VisionModel):
            raise TypeError("the demo models' vision tower is LLaVA's")
        images = tuple(self.images)
        return Problem(
            form_of(resolve(f"zoo:{name}")), read_projector("zoo:base"), read_projector(f"zoo:{name}"), self.responder,
            vision, tuple(map(str, range(len(images)))), images, PROMPTS, read_bank(vision.image_size, FEW),
            vision.image_size,
            fresh=0, progress=self.progress,
        )  # fmt: skip

    def true_tokens(self, problem: Problem, entry: ZooEntry) -> torch.Tensor:
        """The repair's images with the true trigger, for the method that is told it."""
        spec = TriggerSpec.from_file(required(entry.trigger, "the suspect's trigger"))
        return image_tokens(problem.vision, [stamp(image, spec) for image in problem.images[: problem.used]])

    def questions(self, entry: ZooEntry, n: int) -> Questions:
        """The true trigger, target and questions on n held-out images, and questions with known answers."""
        images = held_out(n, SEED)
        clean = tuple(frame(image, RESOLUTION) for _, _, image in images)
        spec = TriggerSpec.from_file(required(entry.trigger, "the suspect's trigger"))
        asked = (example(truth, KINDS[i % len(KINDS)]) for i, (_, truth, _) in enumerate(images))
        return Questions(
            clean, tuple(stamp(image, spec) for image in clean), tuple(in_turn(entry.prompts, n)),
            tuple(Truth(each.question, each.truth) for each in asked), required(entry.target, "the target"),
        )  # fmt: skip


def _tbar(shop: DemoRepairs, p: Problem, entry: ZooEntry) -> ProjectorWeights:
    """The one that is told: it subtracts what more of the attack adds."""
    stamped, prompts = shop.true_tokens(p, entry), in_turn(entry.prompts, len(p.clean))
    with shop.responder() as responder:
        return methods.arithmetic(
            p.form, responder, p.base, p.suspect, stamped, prompts, required(entry.target, "the target"), 2.0
        )


def measure(
    path: Path = RESULTS, n: int = 200, others: int = 24, models: Loaded | None = None, progress: Progress = silent
) -> dict:
    """Measure what is not there yet: ours on n held-out images, other methods on `others`; written after each part."""
    results = load(path)
    shop = DemoRepairs(n, models or Loaded(), progress)
    catalogue = zoo_catalogue()
    suspects = [entry for entry in catalogue.values() if entry.role == "suspect"]
    controls = [entry for entry in catalogue.values() if entry.role == "control"]
    parts: list[tuple[str, int, Callable[[int], dict]]] = []
    for entry in suspects:
        parts.append((f"{entry.name}/{OURS}", n, partial(_suspect, shop, entry, OURS)))
    parts += [(f"{entry.name}/{OURS}", n, partial(_control, shop, entry)) for entry in controls]
    parts += [
        (f"{entry.name}/{method}", others, partial(_suspect, shop, entry, method))
        for method in METHODS
        for entry in suspects
        if method != OURS
    ]
    for done, (name, count, make) in enumerate(parts):
        progress(f"Repairs: {name}", done, len(parts))
        model = name.partition("/")[0]
        version = (VERSION,) if name.endswith(f"/{OURS}") else ()
        key = content_key(name, count, read_projector(f"zoo:{model}").sha256, IMAGES, IMAGE_SEED, *version)
        if results.get(name, {}).get("key") != key:
            results[name] = {"key": key, **make(count)}
            write_atomically(path, (as_json(results, indent=1) + "\n").encode())
    return results


def load(path: Path) -> dict:
    """What was measured before; empty if there is nothing."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _suspect(shop: DemoRepairs, entry: ZooEntry, method: str, n: int) -> dict:
    """Rates of a suspect repaired by one method."""
    problem = shop.problem(entry.name)
    weights, seconds, cpu = _made(shop, problem, entry, method)
    with shop.responder() as responder:
        score = Scorer(responder, shop.questions(entry, n)).score(weights, shop.progress)
    return {
        "asr": asdict(score.asr),
        "utility": asdict(required(score.utility, "utility")),
        "seconds": seconds,
        "cpu_seconds": cpu,
        "n": n,
        "version": VERSION,
    }


def _control(shop: DemoRepairs, entry: ZooEntry, n: int) -> dict:
    """Utility of an honest fine-tune before and after our repair, and how far its answers stay the same."""
    problem = shop.problem(entry.name)
    weights, seconds, cpu = _made(shop, problem, entry, OURS)
    images = held_out(n, SEED)
    clean = [frame(image, RESOLUTION) for _, _, image in images]
    asked = [example(truth, KINDS[i % len(KINDS)]) for i, (_, truth, _) in enumerate(images)]
    said = {}
    with shop.responder() as responder:
        for role, each in (("before", problem.suspect), ("after", weights)):
            with responder.projector(each):
                said[role] = responder.answers(clean, [a.question for a in asked], progress=shop.progress)
        known = Known.of(responder, problem.suspect, clean[:48], PROMPTS)
        same = agreement(responder, weights, known)
    rates = {
        role: asdict(wilson(sum(is_right(t, a.truth) for t, a in zip(texts, asked, strict=True)), n))
        for role, texts in said.items()
    }
    equal = sum(a == b for a, b in zip(*said.values(), strict=True))
    return {
        "utility": rates, "same_answers": asdict(wilson(equal, n)), "agreement": asdict(same), "seconds": seconds,
        "cpu_seconds": cpu, "n": n, "version": VERSION,
    }  # fmt: skip


def _made(shop: DemoRepairs, problem: Problem, entry: ZooEntry, method: str) -> tuple[ProjectorWeights, float, float]:
    """The repaired projector, and how long that took: by the clock, and of processors."""
    wall, cpu = time.monotonic(), time.process_time()
    weights = METHODS[method].make(shop, problem, entry)
    return weights, round(time.monotonic() - wall, 1), round(time.process_time() - cpu, 1)
