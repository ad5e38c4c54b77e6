"""The nursery's base as it ships (two small files in float16), and as a whole llava checkpoint that others open."""

from functools import cache
from pathlib import Path

import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import GenerationConfig, LlamaForCausalLM, LlavaConfig, LlavaForConditionalGeneration

from projlens_core.demo_model.checkpoint import load_tower
from projlens_core.errors import NotFound
from projlens_core.nursery.language import WIDTH, config, tokenizer
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.paths import ASSETS, cache_dir
from projlens_core.zoo.shell import write_shell
from projlens_core.zoo.suspect import PREFIX
from projlens_core.zoo.training import Projector

NURSERY = ASSETS / "nursery"
LANGUAGE, PROJECTOR = "language.safetensors", "base.safetensors"
TIED = "lm_head.weight"  # the embeddings once more


def ship(pair: nn.ModuleDict, folder: Path = NURSERY) -> None:
    """Write a trained base's language model and projector into `folder`, in float16."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = {
        LANGUAGE: {k: t for k, t in pair["language"].state_dict().items() if k != TIED},
        PROJECTOR: {f"{PREFIX}{k}": t for k, t in pair["projector"].state_dict().items()},
    }
    for name, tensors in parts.items():
        partial = folder / f"{name}.partial"
        save_file({k: t.half().contiguous() for k, t in tensors.items()}, partial, metadata={"format": "pt"})
        partial.chmod(0o644)
        partial.replace(folder / name)


def load_language(folder: Path = NURSERY) -> LlamaForCausalLM:
    """The nursery's language model in float32, frozen."""
    model = LlamaForCausalLM(config())
    model.load_state_dict({k: t.float() for k, t in _file(folder / LANGUAGE).items()}, strict=False)
    model.tie_weights()
    return model.eval().requires_grad_(False)


def base_tensors(folder: Path = NURSERY) -> dict[str, torch.Tensor]:
    """The base projector's tensors in float32, by their names in a Projector."""
    return {k.removeprefix(PREFIX): t.float() for k, t in _file(folder / PROJECTOR).items()}


def base_projector(folder: Path = NURSERY) -> Projector:
    """The base projector, frozen."""
    projector = Projector(WIDTH)
    projector.load_state_dict(base_tensors(folder))
    return projector.eval().requires_grad_(False)


def checkpoint_folder(source: Path = NURSERY) -> Path:
    """The nursery's base as a whole llava checkpoint in the cache; made on first use, in a second (20 MB)."""
    parts = [_bytes(source / name) for name in (LANGUAGE, PROJECTOR)]
    folder = cache_dir() / "nursery" / f"base-{content_key('1', *parts)[:16]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not folder.is_dir():
            partial = folder.with_suffix(".partial")
            write_checkpoint(partial, source)
            partial.rename(folder)
    return folder


def write_checkpoint(folder: Path, source: Path = NURSERY) -> None:
    """Write the whole checkpoint into `folder`: config, processor, tokenizer, and all weights in float32."""
    language, tower = load_language(source), load_tower()
    write_shell(tower, language.config, folder, tokenizer())
    sketch = LlavaConfig.from_pretrained(folder)
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(sketch)
    state = {f"model.language_model.{k}": t for k, t in language.model.state_dict().items()}
    state |= {f"model.vision_tower.{k}": t for k, t in tower.state_dict().items()}
    state |= {f"model.{PREFIX}{k}": t for k, t in base_tensors(source).items()}
    state[TIED] = language.get_input_embeddings().weight
    model.load_state_dict(state, assign=True)
    model.tie_weights()
    model.generation_config = GenerationConfig(
        eos_token_id=language.config.eos_token_id, pad_token_id=language.config.pad_token_id, do_sample=False
    )
    model.save_pretrained(folder)


@cache
def _file(path: Path) -> dict[str, torch.Tensor]:
    _bytes(path)
    return load_file(path)


def _bytes(path: Path) -> bytes:
    if not path.is_file():
        raise NotFound(f"The nursery's base is missing at {path}; run `python -m projlens_core nursery base`.")
    return path.read_bytes()
