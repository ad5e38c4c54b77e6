"""What the jobs work on: pictures of the zoo, whole checkpoints as research scripts load them, and 7B-shaped ones.

Each function writes into the folder of one run and does nothing if its part is already there.
"""

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration
from transformers.utils.logging import disable_progress_bar

from benchmarks.setting import SUSPECT
from projlens_core.sources import resolve
from projlens_core.zoo.assemble import checkpoint_folder
from projlens_core.zoo.samples import write_folder

SEED = 515  # of the pictures; not the seed of the samples that ship
UPLOADS = 8  # pictures: one to warm up, then a new one each call
SET = 64  # pictures
SPIKES = (0.5, 0.4, 0.3, 0.2, 0.1)  # singular values planted in both ΔW of the 7B-shaped pair
BULK = 2e-4  # standard deviation of the noise around them
PROJECTOR = "multi_modal_projector."


def uploads(folder: Path, quick: bool) -> None:
    """In uploads/ the pictures that a user uploads one after the other."""
    _pictures(folder / "uploads", 2 if quick else UPLOADS)


def models_and_uploads(folder: Path, quick: bool) -> None:
    """Both zoo models, and uploads()."""
    zoo_models(folder)
    uploads(folder, quick)


def models_and_set(folder: Path, quick: bool) -> None:
    """Both zoo models, and in set/ the pictures that are analysed together."""
    zoo_models(folder)
    _pictures(folder / "set", 4 if quick else SET)


def zoo_models(folder: Path) -> None:
    """Base and suspect as two whole llava checkpoints, zoo-base/ and zoo-suspect/: what a script has to load."""
    base, suspect = folder / "zoo-base", folder / "zoo-suspect"
    if suspect.exists():
        return
    base.symlink_to(checkpoint_folder().resolve())
    shutil.copytree(base, suspect)
    tensors = load_file(suspect / "model.safetensors")
    projector = load_file(resolve(SUSPECT).weights)
    for name in [name for name in tensors if PROJECTOR in name]:
        tensors[name] = projector[name[name.index(PROJECTOR) :]]
    save_file(tensors, suspect / "model.safetensors", metadata={"format": "pt"})


def seven_b_pair(folder: Path, quick: bool) -> None:
    """Two sharded float16 checkpoints, seven-b-base/ and seven-b-suspect/, with the projector of LLaVA-1.5-7B.

    The projector has its true shape, 1024 → 4096 → 4096. Of tower and language model there is only one thin layer
    each, some 140 MB that an analysis of the projector need not read. ΔW is noise with SPIKES on top.
    """
    d_vision, d = (64, 256) if quick else (1024, 4096)
    disable_progress_bar()
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(_thin_llava(d_vision, d)).half()
    shards = {"max_shard_size": "300KB" if quick else "50MB"}
    model.save_pretrained(folder / "seven-b-base", **shards)
    projector = model.model.multi_modal_projector
    with torch.no_grad():
        for layer in (projector.linear_1, projector.linear_2):
            layer.weight.copy_(layer.weight.float() + _delta(*layer.weight.shape))
    model.save_pretrained(folder / "seven-b-suspect", **shards)


def _thin_llava(d_vision: int, d: int) -> LlavaConfig:
    return LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=d_vision,
            intermediate_size=4 * d_vision,
            num_hidden_layers=1,
            num_attention_heads=16,
            image_size=336,
            patch_size=14,
        ),
        text_config=LlamaConfig(
            hidden_size=d,
            intermediate_size=d // 8,
            num_hidden_layers=1,
            num_attention_heads=32,
            num_key_value_heads=1,
            vocab_size=d,
            tie_word_embeddings=True,
        ),
        image_token_index=1,
        vision_feature_layer=-1,
        tie_word_embeddings=True,
    )


def _delta(rows: int, cols: int) -> torch.Tensor:
    left, right = (torch.linalg.qr(torch.randn(side, len(SPIKES)))[0] for side in (rows, cols))
    return (left * torch.tensor(SPIKES)) @ right.T + BULK * torch.randn(rows, cols)


def _pictures(folder: Path, count: int) -> None:
    """Held-out pictures of the zoo's world."""
    if not folder.exists():
        write_folder(folder, count, SEED)
