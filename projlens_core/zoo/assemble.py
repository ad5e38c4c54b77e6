"""Puts the zoo's parts together: the shell that ships (all but the language model), and the whole checkpoint.

The whole checkpoint is a genuine llava folder that transformers loads by itself. It is made once, in the cache, under
a name that follows from the content of its parts, and appears there only when it is complete.
"""

import os
import shutil
import tempfile
from pathlib import Path

import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    CLIPImageProcessor,
    CLIPVisionModel,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from projlens_core.cache import content_key
from projlens_core.errors import InvalidInput, NotFound
from projlens_core.paths import ZOO, cache_dir
from projlens_core.progress import Progress, silent
from projlens_core.zoo import tower as vision
from projlens_core.zoo.language import (
    CHAT_TEMPLATE,
    VOCABULARY,
    load_language_model,
    tokenizer_from_package,
    weights_file,
)

SHELL = ZOO / "checkpoint"
TOWER_FILE = "model.safetensors"
PREFIX = "vision_tower."
END_OF_TURN, PAD = 2, 0
STAGE = "Preparing the demo language model (once)"


def write_shell(tower: CLIPVisionModel, language: LlamaConfig, folder: Path = SHELL) -> None:
    """Write config, processor, tokenizer and the tower (float16) into `folder`: all of the checkpoint but the LM."""
    folder.mkdir(parents=True, exist_ok=True)
    config = LlavaConfig(
        vision_config=vision.CONFIG,
        text_config=language,
        image_token_index=VOCABULARY,
        image_seq_length=vision.GRID**2,
        vision_feature_layer=vision.FEATURE_LAYER,
        vision_feature_select_strategy="default",
        projector_hidden_act="gelu",
        tie_word_embeddings=True,
        architectures=["LlavaForConditionalGeneration"],
    )
    config.save_pretrained(folder)
    side = vision.IMAGE_SIZE
    images = CLIPImageProcessor(
        size={"shortest_edge": side},
        crop_size={"height": side, "width": side},
        image_mean=list(vision.MEAN),
        image_std=list(vision.STD),
    )
    LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer_from_package(),
        patch_size=vision.PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,  # CLS, which the "default" strategy drops again
        chat_template=CHAT_TEMPLATE,
    ).save_pretrained(folder)
    tensors = {f"{PREFIX}{name}": t.half().contiguous().cpu() for name, t in tower.state_dict().items()}
    save_file(tensors, folder / TOWER_FILE, metadata={"format": "pt"})


def load_tower(folder: Path = SHELL) -> CLIPVisionModel:
    """The shipped tower in float32, frozen."""
    tower = CLIPVisionModel(vision.CONFIG)
    stored = load_file(folder / TOWER_FILE)
    tower.load_state_dict({name.removeprefix(PREFIX): tensor.float() for name, tensor in stored.items()})
    return tower.eval().requires_grad_(False)


def checkpoint_folder(progress: Progress = silent) -> Path:
    """The zoo's base model as a whole llava checkpoint; made on first use (about half a minute, 570 MB of disk).

    Safe against interruption and against several processes: the folder is built under another name and renamed.
    """
    folder = cache_dir() / "zoo" / f"smollm2-llava-{_key()}"
    if (folder / "config.json").is_file():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / "config.json").is_file():
            _build(folder, progress)
    return folder


def _key() -> str:
    """What decides the content of the whole checkpoint: the shell's files, the base projector, the language model's."""
    parts: list[object] = ["1"]
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
        config = AutoConfig.from_pretrained(SHELL)
        with torch.device("meta"):
            model = LlavaForConditionalGeneration(config)
        state = {f"model.language_model.{k}": v for k, v in language.model.state_dict().items()}
        state |= {f"model.vision_tower.{k}": v for k, v in load_tower().state_dict().items()}
        state |= {f"model.{k}": v for k, v in load_file(ZOO / "projectors" / "base.safetensors").items()}
        state["lm_head.weight"] = state["model.language_model.embed_tokens.weight"]
        wrong = model.load_state_dict(state, strict=False, assign=True)
        if wrong.missing_keys or wrong.unexpected_keys:
            raise InvalidInput(f"The zoo's parts do not fit together: {wrong}.")
        model.tie_weights()
        model.generation_config = GenerationConfig(eos_token_id=END_OF_TURN, pad_token_id=PAD, do_sample=False)
        model.save_pretrained(partial)
        progress(STAGE, 2, 3)
        for path in SHELL.iterdir():
            if path.name not in ("config.json", TOWER_FILE):
                shutil.copyfile(path, partial / path.name)
        os.replace(partial, folder)
    except OSError as error:
        raise NotFound(
            f"The demo language model could not be written to {folder.parent} ({error.strerror or error}); "
            "free about 600 MB there or set $PROJLENS_CACHE to another folder."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    progress(STAGE, 3, 3)
