"""Puts the demo model together: the shell that ships (all but the language model), a projector, the language model.

The whole checkpoint is a genuine llava folder that transformers loads by itself. It is made once, in the cache, under
a name that follows from the content of its parts, and appears there only when it is complete. Its own digests lie in
it, so that a file that was damaged since is noticed, and all of it made anew.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    CLIPVisionModel,
    GenerationConfig,
    LlamaForCausalLM,
    LlavaForConditionalGeneration,
)

from projlens_core.demo_model.language import load_language_model, weights_file
from projlens_core.errors import InvalidInput, NotFound
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.paths import ZOO, cache_dir
from projlens_core.runtime.progress import Progress, silent

SHELL = ZOO / "checkpoint"
TOWER_FILE = "model.safetensors"
DIGESTS = "sha256.json"  # of all other files of the whole checkpoint; written last
PREFIX = "vision_tower."
STAGE = "Preparing the demo language model (once)"


def load_tower(folder: Path = SHELL) -> CLIPVisionModel:
    """The shipped tower in float32, frozen."""
    tower = CLIPVisionModel(AutoConfig.from_pretrained(folder).vision_config)
    stored = load_file(folder / TOWER_FILE)
    tower.load_state_dict({name.removeprefix(PREFIX): tensor.float() for name, tensor in stored.items()})
    return tower.eval().requires_grad_(False)


def checkpoint_folder(progress: Progress = silent) -> Path:
    """The zoo's base model as a whole llava checkpoint; made on first use (about half a minute, 570 MB of disk).

    Safe against interruption and against several processes: the folder is built under another name and renamed. Its
    files are compared with their digests once a process (half a second).
    """
    folder = cache_dir() / "zoo" / f"smollm2-llava-{_key()}"
    if _whole(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if not _whole(folder):
                _build(folder, progress)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise NotFound(
            f"The demo language model could not be written to {folder.parent} ({reason}); free about 600 MB there, "
            "make it writable, or set $PROJLENS_CACHE to another folder."
        ) from error
    return folder


def _whole(folder: Path) -> bool:
    """Whether the folder is there with all files as they were written."""
    try:
        return _as_written(folder, (folder / DIGESTS).stat().st_mtime_ns)
    except OSError:
        return False


@cache
def _as_written(folder: Path, made: int) -> bool:
    """Whether each file of the folder that was finished at the time `made` has its digest."""
    try:
        return json.loads((folder / DIGESTS).read_bytes()) == _digests(folder)
    except ValueError:
        return False


def _digests(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.iterdir()):
        if path.name != DIGESTS:
            with path.open("rb") as file:
                found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _key() -> str:
    """What decides the content of the whole checkpoint: the shell's files, the base projector, the language model's.

    And the libraries that read and write it.
    """
    parts: list[object] = ["2", version("transformers"), version("gguf")]
    for path in [*sorted(p for p in SHELL.iterdir() if p.is_file()), ZOO / "projectors" / "base.safetensors"]:
        parts += [path.name, path.read_bytes()]
    source = weights_file()
    stat = source.stat()
    return content_key(*parts, source.name, stat.st_size, stat.st_mtime_ns)[:16]


def _build(folder: Path, progress: Progress) -> None:
    progress(STAGE, 0, 3)
    for leftover in folder.parent.glob(f"{folder.name}.partial-*"):  # of a run that was killed; the lock is ours
        shutil.rmtree(leftover, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}.partial-", dir=folder.parent))
    try:
        language = load_language_model()
        progress(STAGE, 1, 3)
        assembled(SHELL, language, load_file(ZOO / "projectors" / "base.safetensors")).save_pretrained(partial)
        progress(STAGE, 2, 3)
        for path in SHELL.iterdir():
            if path.name not in ("config.json", TOWER_FILE):
                shutil.copyfile(path, partial / path.name)
        (partial / DIGESTS).write_text(json.dumps(_digests(partial)))
        shutil.rmtree(folder, ignore_errors=True)  # a damaged one
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    progress(STAGE, 3, 3)


def assembled(
    shell: Path, language: LlamaForCausalLM, projector: Mapping[str, torch.Tensor]
) -> LlavaForConditionalGeneration:
    """The whole model of a shell's config out of its parts; projector: its tensors by their names in a checkpoint."""
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(AutoConfig.from_pretrained(shell))
    state = {f"model.language_model.{k}": v for k, v in language.model.state_dict().items()}
    state |= {f"model.vision_tower.{k}": v for k, v in load_tower().state_dict().items()}
    state |= {f"model.{k}": v for k, v in projector.items()}
    state["lm_head.weight"] = state["model.language_model.embed_tokens.weight"]
    wrong = model.load_state_dict(state, strict=False, assign=True)
    if wrong.missing_keys or wrong.unexpected_keys:
        raise InvalidInput(f"The zoo's parts do not fit together: {wrong}.")
    model.tie_weights()
    end, pad = language.config.eos_token_id, language.config.pad_token_id
    model.generation_config = GenerationConfig(eos_token_id=end, pad_token_id=pad, do_sample=False)
    return model
