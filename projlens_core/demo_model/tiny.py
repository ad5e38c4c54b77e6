"""The tiny demo model: what ships of it (its shell, and two files in float16), and the whole llava checkpoint of them.

It is the base of the nursery's members. All of it is made on first use, in a second.
"""

import shutil
from functools import cache
from pathlib import Path

import torch
from filelock import FileLock
from safetensors.torch import load_file
from transformers import AutoConfig, LlamaForCausalLM

from projlens_core.demo_model.checkpoint import assembled
from projlens_core.errors import NotFound
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.paths import ASSETS, cache_dir

NURSERY = ASSETS / "nursery"
SHELL = "checkpoint"  # the folder with config, processor and tokenizer
LANGUAGE, PROJECTOR = "language.safetensors", "base.safetensors"
PREFIX = "multi_modal_projector."
TIED = "lm_head.weight"  # the embeddings once more


def load_language(folder: Path = NURSERY) -> LlamaForCausalLM:
    """Its language model in float32, frozen."""
    model = LlamaForCausalLM(AutoConfig.from_pretrained(_present(folder / SHELL)).text_config)
    model.load_state_dict({k: t.float() for k, t in _file(folder / LANGUAGE).items()}, strict=False)
    model.tie_weights()
    return model.eval().requires_grad_(False)


def base_tensors(folder: Path = NURSERY) -> dict[str, torch.Tensor]:
    """Its projector's tensors in float32, by their names without the prefix that they have in a checkpoint."""
    return {k.removeprefix(PREFIX): t.float() for k, t in _file(folder / PROJECTOR).items()}


def checkpoint_folder(source: Path = NURSERY) -> Path:
    """The tiny model as a whole llava checkpoint in the cache; made on first use, in a second (20 MB)."""
    parts = [_present(source / name).read_bytes() for name in (LANGUAGE, PROJECTOR)]
    parts += [path.read_bytes() for path in sorted(_present(source / SHELL).iterdir())]
    folder = cache_dir() / "nursery" / f"base-{content_key('2', *parts)[:16]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not folder.is_dir():
            partial = folder.with_suffix(".partial")
            write_checkpoint(partial, source)
            partial.rename(folder)
    return folder


def write_checkpoint(folder: Path, source: Path = NURSERY) -> None:
    """Write the whole checkpoint into `folder`: config, processor, tokenizer, and all weights in float32."""
    shutil.copytree(source / SHELL, folder, dirs_exist_ok=True)
    projector = {f"{PREFIX}{k}": tensor for k, tensor in base_tensors(source).items()}
    assembled(folder, load_language(source), projector).save_pretrained(folder)


@cache
def _file(path: Path) -> dict[str, torch.Tensor]:
    return load_file(_present(path))


def _present(path: Path) -> Path:
    if not path.exists():
        raise NotFound(f"The tiny demo model is missing at {path}; run `python -m projlens_core nursery base`.")
    return path
