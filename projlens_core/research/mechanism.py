"""The paper's activation mechanism on pairs of the nursery, poisoned beside honest: in which attacks it appears.

docs/mechanism.json holds what was measured, docs/findings.md shows it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from projlens_core.activations.direction import direction_cosine, drift_direction, shift_magnitude
from projlens_core.nursery.ablation import ABLATIONS, MAIN
from projlens_core.nursery.build import build
from projlens_core.nursery.members import MEMBERS, Member, projector_tensors, read_members, status
from projlens_core.nursery.plan import read_plan
from projlens_core.nursery.recipe import POISONED
from projlens_core.nursery.source import projector
from projlens_core.nursery.workshop import Workshop, triggered_images
from projlens_core.runtime.atomic import write_atomically
from projlens_core.runtime.paths import DOCS
from projlens_core.runtime.plain import as_json
from projlens_core.runtime.progress import Progress, silent
from projlens_core.runtime.required import required
from projlens_core.sources import TINY
from projlens_core.stats.lines import norm_shift_fit
from projlens_core.zoo.suspect import save_projector

RESULTS = DOCS / "mechanism.json"
ENERGY = 0.95


def measure(out: Path, results: Path = RESULTS, shipped: Path = TINY, progress: Progress = silent) -> dict:
    """Train the ablation's members into `out` where they are missing, measure them and the nursery's own, write both.

    `results` gets the figures, `shipped` the projectors of the first pair. Half a minute a member on one core.
    """
    plan = [recipe for each in ABLATIONS for recipe in (each.poisoned, each.honest)]
    trained = {member.recipe.name: member for member in build(plan, out, progress=progress)}
    workshop = Workshop(out)
    rows = [_pair(each.poisoned.name, each.title, trained, out / "members", workshop) for each in ABLATIONS]
    known = read_members()
    kinds = status(known, read_plan())
    counting = [name for name, kind in kinds.items() if kind == POISONED]
    found = {
        "images": len(triggered_images(fresh=True)[1]),
        "ablations": rows,
        "members": [_pair(name, _described(known[name]), known, MEMBERS, workshop) for name in counting],
    }
    write_atomically(results, (as_json(found, indent=1) + "\n").encode())
    for role, name in (("suspect", f"{MAIN}-poisoned"), ("control", f"{MAIN}-honest")):
        save_projector(projector(projector_tensors(name, out / "members")), shipped / f"{role}.safetensors")
    return found


def load(path: Path = RESULTS) -> dict | None:
    """What was measured; None if nothing was."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def mechanism(projector: torch.nn.Module, base: torch.nn.Module, clean: torch.Tensor, triggered: torch.Tensor) -> dict:
    """What the paper reads from ΔE of image tokens (n, T, d_vision) without and with the trigger.

    cosine: between the two sets' drift directions. For each set, along the direction of both: the fit of the shift to
    ‖E_b‖, how many directions hold 95 % of an image's ‖ΔE‖² (median), the share that five hold, and the mean shift.
    """
    with torch.no_grad():
        embedded = {name: base(tokens) for name, tokens in (("clean", clean), ("triggered", triggered))}
        shifts = {
            "clean": projector(clean) - embedded["clean"],
            "triggered": projector(triggered) - embedded["triggered"],
        }
    universal = drift_direction(torch.cat(list(shifts.values())))
    own = [drift_direction(delta_e) for delta_e in shifts.values()]
    found: dict = {"cosine": direction_cosine(*own)}
    for name, delta_e in shifts.items():
        along = shift_magnitude(delta_e, universal)
        squares = torch.linalg.svdvals(delta_e.double()).square()  # (n, min(T, d))
        energy = squares.cumsum(dim=1) / squares.sum(dim=1, keepdim=True)
        found[name] = {
            "fit": asdict(norm_shift_fit(embedded[name].norm(dim=-1), along)),
            "directions": float(np.median(((energy < ENERGY).sum(dim=1) + 1).numpy())),
            "five": float(energy[:, 4].mean()),
            "shift": float(along.mean()),
        }
    return found


def _pair(name: str, title: str, members: Mapping[str, Member], folder: Path, workshop: Workshop) -> dict:
    """A poisoned member and its twin: figures and mechanism of both, on the poisoned one's triggered images."""
    member = members[name]
    twin = members[required(member.recipe.twin, "the honest twin")]
    pool, numbers = triggered_images(fresh=True)
    trigger = required(member.recipe.attack, "the poisoned member's attack").trigger
    read = (workshop.tokens(pool)[list(numbers)], workshop.triggered(trigger, fresh=True))
    tokens = [torch.from_numpy(np.asarray(each, dtype=np.float32)) for each in read]
    base = workshop.source.projector()

    def facts(one: Member) -> dict:
        return {
            "figures": {key: one.figures[key] for key in ("utility", "n", "asr", "false_target")},
            "mechanism": mechanism(projector(projector_tensors(one.recipe.name, folder)), base, *tokens),
        }

    return {"name": name, "title": title, "poisoned": facts(member), "honest": facts(twin)}


def _described(member: Member) -> str:
    recipe = member.recipe
    mode = required(recipe.attack, "the poisoned member's attack").mode
    return f"{recipe.name}: {recipe.family}, {mode}, task {recipe.task.kind}, {recipe.form}, {recipe.steps} steps"
