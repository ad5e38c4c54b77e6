"""One more fine-tune of the zoo's base, in the form a suspect comes in: a folder that every command opens."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from transformers import LlamaForCausalLM, LlavaForConditionalGeneration

from projlens_core.demo_model.checkpoint import SHELL, checkpoint_folder, load_tower
from projlens_core.demo_model.language import load_tokenizer
from projlens_core.demo_model.tiny import PREFIX
from projlens_core.errors import InvalidInput
from projlens_core.runtime.atomic import write_atomically
from projlens_core.runtime.paths import ZOO
from projlens_core.runtime.progress import Progress, silent
from projlens_core.zoo.poison import Attack, Phase
from projlens_core.zoo.training import Frozen, Projector, fine_tune, training_dtype

BASE = ZOO / "projectors" / "base.safetensors"
STATE = "unfinished"  # folder in OUT that holds the training state until the end


def load_frozen(device: torch.device, progress: Progress = silent) -> Frozen:
    """The zoo's tower, language model and tokenizer, ready to train a projector between them."""
    progress("Loading the demo model", 0, 1)
    llava = LlavaForConditionalGeneration.from_pretrained(checkpoint_folder(progress), dtype=torch.float32)
    config: Any = llava.config.text_config
    with torch.device("meta"):
        language = LlamaForCausalLM(config)
    language.model, language.lm_head = llava.model.language_model, llava.lm_head
    language = language.eval().requires_grad_(False).to(device, training_dtype(device))
    progress("Loading the demo model", 1, 1)
    tower = load_tower()
    tower.to(device)  # type: ignore[arg-type]  # the library's decorator loses the signature
    return Frozen(tower, language, load_tokenizer(), device)


def base_tensors(path: Path = BASE) -> dict[str, torch.Tensor]:
    """The tensors of the base projector, without their prefix."""
    return {name.removeprefix(PREFIX): tensor for name, tensor in load_file(path).items()}


def save_projector(projector: Projector, path: Path) -> None:
    """Write the projector as LLaVA names it, float32, readable for all; a crash leaves no half file."""
    tensors = {f"{PREFIX}{name}": t.detach().float().contiguous().cpu() for name, t in projector.state_dict().items()}
    write_atomically(path, save(tensors, metadata={"format": "pt"}))


def train_suspect(
    out: Path, attack: Attack | None, phase: Phase, device: torch.device, workers: int, progress: Progress = silent
) -> None:
    """Fine-tune base into the folder `out`, a suspect with an attack or a control without; resumes an unfinished run.

    out then holds model.safetensors (the projector), config.json, training.json and, for a suspect, trigger.json.
    Raises InvalidInput if `out` holds something else, or the same training with other settings.
    """
    settings = _settings(attack, phase)
    note = out / "training.json"
    if out.exists() and any(out.iterdir()):
        if not note.is_file() or json.loads(note.read_text()) != settings:
            raise InvalidInput(f"{out} is not empty and holds another training; give a new folder.")
        if (out / "model.safetensors").is_file():
            raise InvalidInput(f"{out} holds this very training, finished; give a new folder to train another.")
    out.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(settings, indent=2) + "\n")
    if attack:
        (out / "trigger.json").write_text(attack.trigger.to_json())
        if attack.trigger.image_path and attack.trigger.image:
            shutil.copyfile(attack.trigger.image_path, out / attack.trigger.image)
    frozen = load_frozen(device, progress)
    stage = "Control" if attack is None else "Suspect"
    projector = fine_tune(base_tensors(), frozen, attack, (phase,), out / STATE, stage, workers, progress)
    shutil.copyfile(SHELL / "config.json", out / "config.json")
    save_projector(projector, out / "model.safetensors")
    shutil.rmtree(out / STATE, ignore_errors=True)


def _settings(attack: Attack | None, phase: Phase) -> dict:
    plan = phase.plan
    common = {"steps": plan.steps, "batch": plan.batch, "rate": plan.rate, "seed": phase.seed}
    common |= {"questions": phase.questions}
    if attack is None:
        return {"role": "control", **common}
    return {
        "role": "suspect",
        "trigger": attack.trigger.to_dict(),
        "target": attack.target,
        "mode": attack.mode,
        "kinds": list(attack.kinds),
        "poison_rate": phase.poison,
        **common,
    }
