"""What the jobs work on: images of the zoo, whole checkpoints as research scripts load them, and 7B-shaped ones.

Each function writes into the folder of one run and does nothing if its part is already there.
"""

import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPImageProcessor, CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration
from transformers.utils.logging import disable_progress_bar

from benchmarks.setting import SUSPECT
from projlens_core.demo_model.checkpoint import checkpoint_folder
from projlens_core.sources import resolve
from projlens_core.zoo.samples import write_folder

SEED = 515  # of the images; not the seed of the samples that ship
UPLOADS = 8  # images: one to warm up, then a new one each call
SET = 64  # images
MANY = 2000  # images
GRID = 100  # images
DELTA = "delta.npy"
SPIKES = (0.5, 0.4, 0.3, 0.2, 0.1)  # singular values planted in both ΔW of the 7B-shaped pair
BULK = 2e-4  # standard deviation of the noise around them
PROJECTOR = "multi_modal_projector."


def uploads(folder: Path, quick: bool) -> None:
    """In uploads/ the images that a user uploads one after the other."""
    _images(folder / "uploads", 2 if quick else UPLOADS)


def models_alone(folder: Path, quick: bool) -> None:
    """Both zoo models; the images are those that ship."""
    zoo_models(folder)


def models_and_uploads(folder: Path, quick: bool) -> None:
    """Both zoo models, and uploads()."""
    zoo_models(folder)
    uploads(folder, quick)


def models_and_many(folder: Path, quick: bool) -> None:
    """Both zoo models, and in many/ the images that are ranked."""
    zoo_models(folder)
    _images(folder / "many", 4 if quick else MANY)


def models_and_grid(folder: Path, quick: bool) -> None:
    """Both zoo models, and in grid/ the images that every cell of a grid is asked about."""
    zoo_models(folder)
    _images(folder / "grid", 2 if quick else GRID)


def delta(folder: Path, quick: bool) -> None:
    """In a file by itself the ΔW₂ of LLaVA-1.5-7B's shape, or one just large enough for the randomised way."""
    torch.manual_seed(0)
    side = 1024 if quick else 4096
    np.save(folder / DELTA, _delta(side, side).numpy())


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
    model = LlavaForConditionalGeneration(_thin_llava(d_vision, d, d // 8)).half()
    shards = {"max_shard_size": "300KB" if quick else "50MB"}
    model.save_pretrained(folder / "seven-b-base", **shards)
    projector = model.model.multi_modal_projector
    with torch.no_grad():
        for layer in (projector.linear_1, projector.linear_2):
            layer.weight.copy_(layer.weight.float() + _delta(*layer.weight.shape))
    model.save_pretrained(folder / "seven-b-suspect", **shards)


def seven_b_model(folder: Path, quick: bool) -> None:
    """In seven-b/ a model with tower and projector of LLaVA-1.5-7B and one of its 32 layers, random values, float16.

    seven-b-suspect.safetensors is another projector for it, and set/ has the images.
    """
    _images(folder / "set", 4 if quick else SET)
    disable_progress_bar()
    torch.manual_seed(0)
    config = _thin_llava(64, 256, 512, layers=2) if quick else _thin_llava(1024, 4096, 11_008, layers=24)
    model = LlavaForConditionalGeneration(config).half()
    model.save_pretrained(folder / "seven-b")
    CLIPImageProcessor(size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}).save_pretrained(
        folder / "seven-b"
    )
    projector = {
        f"{PROJECTOR}{name}": (values.float() + (_delta(*values.shape) if values.ndim == 2 else 0)).half()
        for name, values in model.model.multi_modal_projector.state_dict().items()
    }
    save_file(projector, folder / "seven-b-suspect.safetensors")


def _thin_llava(d_vision: int, d: int, d_mlp: int, layers: int = 1) -> LlavaConfig:
    """One layer of a language model; image_token_index stands for the image in a prompt."""
    return LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=d_vision,
            intermediate_size=4 * d_vision,
            num_hidden_layers=layers,
            num_attention_heads=16,
            image_size=336,
            patch_size=14,
        ),
        text_config=LlamaConfig(
            hidden_size=d,
            intermediate_size=d_mlp,
            num_hidden_layers=1,
            num_attention_heads=32,
            num_key_value_heads=32 if d_mlp > d else 1,
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


def _images(folder: Path, count: int) -> None:
    """Held-out images of the zoo's world."""
    if not folder.exists():
        write_folder(folder, count, SEED)
