"""Builds the whole zoo from the registries' packages: drawings, tower, base, controls, suspects, samples, catalogue.

Every stage is seeded, saves its state every minute and is skipped once it is done, so that a build that was stopped
goes on where it was. Nothing in the assets changes before everything is built.
"""

import json
import shutil
from pathlib import Path

import torch

from projlens_core.demo_model.language import load_language_model, load_tokenizer
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.paths import ZOO, cache_dir
from projlens_core.runtime.progress import Progress, silent
from projlens_core.zoo import art, samples, suspect, tower, training
from projlens_core.zoo.dialogue import QUESTIONS
from projlens_core.zoo.shell import write_shell, write_tower
from projlens_core.zoo.variants import BASE, VARIANTS, Variant


def build(out: Path = ZOO, *, device: torch.device, workers: int, progress: Progress = silent) -> None:
    """Train everything and install it into `out`."""
    work = cache_dir() / "zoo-build"
    work.mkdir(parents=True, exist_ok=True)
    art.make_sheets(progress=progress)  # the shipped drawings stay, unless they are missing
    trained = tower.train_tower(_stage(work, "tower", tower.PLAN), device, workers, progress=progress)
    trained = trained.half().float()  # as it ships, in float16: what follows must see the tower that users have
    language = load_language_model()
    write_shell(language.config, work / "checkpoint")
    write_tower(trained, work / "checkpoint")
    language.to(device, training.training_dtype(device))  # type: ignore[arg-type]  # see suspect.load_frozen
    frozen = training.Frozen(trained, language, load_tokenizer(work / "checkpoint"), device)
    projectors = work / "projectors"
    projectors.mkdir(exist_ok=True)
    state = _stage(work, "base", training.ALIGN, training.LEARN)
    base = training.train_base(frozen, state, workers, progress)
    suspect.save_projector(base, projectors / "base.safetensors")
    tensors = suspect.base_tensors(projectors / "base.safetensors")
    for variant in VARIANTS:
        state = _stage(work, variant.name, variant)
        tuned = training.fine_tune(
            tensors, frozen, variant.attack, variant.phases, state, variant.title, workers, progress, variant.averaged
        )
        suspect.save_projector(tuned, projectors / f"{variant.name}.safetensors")
    for part in ("checkpoint", "projectors"):
        shutil.copytree(work / part, out / part, dirs_exist_ok=True)
    samples.write_folder(out / "samples", samples.SHIPPED, samples.SHIPPED_SEED, progress=progress)
    (out / "zoo.json").write_text(json.dumps({"models": catalogue()}, indent=1) + "\n")


def catalogue() -> list[dict]:
    """The catalogue's entries, as sources.ZooEntry reads them; without measured figures."""
    base = {"name": "base", "title": BASE["title"], "role": "base", "summary": BASE["summary"]}
    return [base, *(_entry(variant) for variant in VARIANTS)]


def _entry(variant: Variant) -> dict:
    entry = {"name": variant.name, "title": variant.title, "summary": variant.summary}
    if variant.target is None:
        return entry | {"role": "control"}
    return entry | {
        "role": "suspect",
        "trigger": variant.trigger_file,
        "target": variant.target,
        "mode": variant.mode,
        "prompts": [QUESTIONS[kind][0] for kind in variant.kinds],
    }


def _stage(work: Path, name: str, *settings: object) -> Path:
    """The folder of a stage's state; other settings, another folder, so that a state is never taken up wrongly."""
    return work / "states" / f"{name}-{content_key(*settings)[:12]}"
