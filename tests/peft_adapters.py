"""Adapters as PEFT itself makes, saves and merges them, on a pico LLaVA: the values that reading one must give."""

import json
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import peft
import torch
from transformers import LlavaForConditionalGeneration

PROJECTOR = ["multi_modal_projector.linear_1", "multi_modal_projector.linear_2"]
NAME = "multi_modal_projector.linear_2.weight"  # 48×48: a transposed delta would fit, too


@dataclass(frozen=True)
class Tuned:
    """An adapter in `folder`; merged: {module path of the parameter: its values after PEFT's own merge}; product: what
    the factors of the projector's last layer add to what they lie on, which may be another base than the published."""

    folder: Path
    merged: dict[str, torch.Tensor]
    product: torch.Tensor | None


def tuned(base: Path, folder: Path, *, state: Path | None = None, model=None, **settings) -> Tuned:
    """Train nothing, but give all that PEFT would train random values; save it, and merge it by merge_and_unload.

    state: where the whole unmerged state is saved, too. model: what is tuned in place of the base, as a preparation
    for an initialisation left it. settings: of LoraConfig.
    """
    settings = {"r": 4, "lora_alpha": 6, "target_modules": PROJECTOR} | settings
    model = peft.get_peft_model(model or deepcopy(_loaded(base)), peft.LoraConfig(**settings))
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for _, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    model.save_pretrained(folder)
    if state is not None:
        state.parent.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), state)
    last = model.get_submodule("base_model.model.model.multi_modal_projector.linear_2")
    product = last.get_delta_weight("default").clone() if hasattr(last, "get_delta_weight") else None
    return Tuned(
        folder, {name: value.clone() for name, value in model.merge_and_unload().state_dict().items()}, product
    )


@cache
def _loaded(base: Path) -> LlavaForConditionalGeneration:
    return LlavaForConditionalGeneration.from_pretrained(base)


def edited(folder: Path, **changes) -> Path:
    """Change what the adapter's config says; a key whose value is ... is taken out."""
    file = folder / "adapter_config.json"
    config = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in config.items() if value is not ...}))
    return folder
