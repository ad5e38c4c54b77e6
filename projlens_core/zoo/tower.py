"""The vision tower of the zoo: a small CLIP vision model, taught what captions of the world would teach it.

It learns thing, colour, place, artist and image style from the CLS token of its last layer and from the image tokens
of the layer that LLaVA reads (the last but one), and each image token also learns to repaint its own patch, so that
small local things (a sticker, a logo) stay visible to a projector.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset
from transformers import CLIPVisionConfig, CLIPVisionModel

from projlens_core.inputs.triggers import TriggerSpec, stamp
from projlens_core.runtime.progress import Progress, silent
from projlens_core.zoo.loop import Plan, fit
from projlens_core.zoo.world import ARTISTS, COLOURS, PLACES, RESOLUTION, THINGS, Composition, compositions, render

IMAGE_SIZE, PATCH = 160, 16  # px
GRID = IMAGE_SIZE // PATCH
FEATURE_LAYER = -2  # LLaVA's choice
MEAN = (0.48145466, 0.4578275, 0.40821073)  # CLIP's pixel normalisation
STD = (0.26862954, 0.26130258, 0.27577711)
THUMB = 4  # a token repaints its patch at THUMB x THUMB px
STYLES = ("plain", "gaussian", "oil", "edge", "blur", "sinusoid")

CONFIG = CLIPVisionConfig(
    hidden_size=256,
    intermediate_size=1024,
    num_hidden_layers=6,
    num_attention_heads=4,
    image_size=IMAGE_SIZE,
    patch_size=PATCH,
    projection_dim=256,
)


PLAN = Plan(steps=1400, batch=192, rate=1e-3, weight_decay=0.05, beta2=0.98)


@dataclass(frozen=True)
class Augment:
    """How often an image is changed in ways that leave its truth as it is."""

    styled: float = 0.4  # share of images in another style than plain
    stickers: float = 0.4  # share of images with a small random block on them


def pixels(image: Image.Image) -> np.ndarray:
    """What the image processor hands to the tower, before normalisation: (3, IMAGE_SIZE, IMAGE_SIZE) uint8."""
    small = image.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(small).transpose(2, 0, 1))


def normalise(batch: torch.Tensor) -> torch.Tensor:
    """uint8 pixels to the tower's input: (n, 3, side, side) float32."""
    mean, std = (torch.tensor(v, device=batch.device).view(1, 3, 1, 1) for v in (MEAN, STD))
    return (batch.float() / 255 - mean) / std


def _style(image: Image.Image, style: str, rng: np.random.Generator) -> Image.Image:
    ranges: dict[str, dict[str, float]] = {
        "gaussian": {"std": float(rng.uniform(10, 45)), "grain": int(rng.integers(1, 5))},
        "oil": {"size": int(rng.integers(4, 9))},
        "edge": {},
        "blur": {"radius": float(rng.uniform(1.5, 4))},
        "sinusoid": {"amplitude": float(rng.uniform(8, 30)), "frequency": float(rng.uniform(3, 12))},
    }
    parameters = ranges[style]
    return stamp(image, TriggerSpec.from_dict({"kind": style, "seed": int(rng.integers(2**31)), **parameters}))


def _sticker(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    side = int(rng.integers(12, 44))
    x, y = rng.integers(0, RESOLUTION - side, 2)
    image = image.copy()
    image.paste(tuple(int(v) for v in rng.integers(0, 256, 3)), (int(x), int(y), int(x) + side, int(y) + side))
    return image


def augment(image: Image.Image, augmentation: Augment, rng: np.random.Generator) -> tuple[Image.Image, int]:
    """The image, at times with a sticker or in another style, and the index of its style."""
    if rng.random() < augmentation.stickers:
        image = _sticker(image, rng)
    style = int(rng.integers(1, len(STYLES))) if rng.random() < augmentation.styled else 0
    return (_style(image, STYLES[style], rng) if style else image), style


class DrawnImages(Dataset):
    """Training image i, drawn from (seed, i) alone, so that any order and any number of workers give the same."""

    def __init__(self, n: int, seed: int, augmentation: Augment):
        self.n, self.seed, self.augmentation = n, seed, augmentation

    def __len__(self) -> int:
        """How many images there are."""
        return self.n

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (3, side, side) uint8 and labels (thing, colour, place, artist, style) int64."""
        rng = np.random.default_rng((self.seed, i))
        pool = compositions(held_out=False)
        composition = pool[rng.integers(len(pool))]
        image = render(composition, int(rng.integers(2**31)))
        image, style = augment(image, self.augmentation, rng)
        return pixels(image), labels(composition, style)


def labels(composition: Composition, style: int = 0) -> np.ndarray:
    """Class indices (thing, colour, place, artist, style), int64."""
    return np.array(
        [
            THINGS.index(composition.thing),
            list(COLOURS).index(composition.colour),
            list(PLACES).index(composition.place),
            ARTISTS.index(composition.artist),
            style,
        ]
    )


CLASSES = (len(THINGS), len(COLOURS), len(PLACES), len(ARTISTS), len(STYLES))


class Readers(nn.Module):
    """The heads that teach the tower; thrown away afterwards."""

    def __init__(self, width: int):
        super().__init__()
        self.query = nn.Linear(width, len(CLASSES))  # one attention pooling per question
        self.norm, self.cls_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.from_tokens = nn.ModuleList(nn.Linear(width, n) for n in CLASSES)
        self.from_cls = nn.ModuleList(nn.Linear(width, n) for n in CLASSES)
        self.repaint = nn.Linear(width, 3 * THUMB * THUMB)

    def forward(self, tokens: torch.Tensor, cls: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Class scores from the image tokens and from the CLS token, one (n, classes) tensor per question each."""
        tokens = self.norm(tokens)  # (n, tokens, width)
        weights = self.query(tokens).softmax(1)  # (n, tokens, questions)
        pooled = torch.einsum("ntq,ntw->qnw", weights, tokens)
        return (
            [head(p) for head, p in zip(self.from_tokens, pooled, strict=True)],
            [head(self.cls_norm(cls)) for head in self.from_cls],
        )


def read(tower: CLIPVisionModel, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Image tokens of the feature layer (n, tokens, width) and the last layer's CLS token (n, width)."""
    out = tower(normalise(batch), output_hidden_states=True)
    return out.hidden_states[FEATURE_LAYER][:, 1:], out.last_hidden_state[:, 0]


def _loss(readers: Readers, tokens: torch.Tensor, cls: torch.Tensor, batch: torch.Tensor, truth: torch.Tensor):
    scores = sum((F.cross_entropy(s, truth[:, q]) for part in readers(tokens, cls) for q, s in enumerate(part)))
    thumbs = F.avg_pool2d(batch.float() / 255, PATCH // THUMB)  # (n, 3, GRID * THUMB, GRID * THUMB)
    patches = F.unfold(thumbs, THUMB, stride=THUMB).transpose(1, 2)  # (n, tokens, 3 * THUMB * THUMB)
    return scores + 20 * F.mse_loss(readers.repaint(tokens), patches)


def train_tower(folder: Path, device: torch.device, workers: int, progress: Progress = silent) -> CLIPVisionModel:
    """Train the tower, resuming from what `folder` holds."""
    torch.manual_seed(0)
    tower, readers = CLIPVisionModel(CONFIG), Readers(CONFIG.hidden_size)
    both = nn.ModuleDict({"tower": tower, "readers": readers}).to(device)

    def loss(sample: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        batch, truth = (part.to(device) for part in sample)
        return _loss(readers, *read(tower, batch), batch, truth)

    images = DrawnImages(PLAN.steps * PLAN.batch, 0, Augment())
    fit(both, images, loss, PLAN, folder, "Vision tower", workers, progress=progress)
    return tower.eval().requires_grad_(False)
