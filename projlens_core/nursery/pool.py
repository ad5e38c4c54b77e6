"""Images of the zoo's world, drawn once, and what its frozen tower makes of them, kept on disk."""

import io
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import CLIPVisionModel

from projlens_core.runtime.atomic import write_atomically
from projlens_core.runtime.progress import Progress, silent
from projlens_core.zoo import tower as vision
from projlens_core.zoo.world import Composition, compositions, render, render_several

BATCH = 16  # images that the tower reads at once
MOST_COPIES = 5


@dataclass(frozen=True)
class Scene:
    """One image's truth, and what draws it again. count: copies of the thing; 0 for one thing in its place."""

    composition: Composition
    seed: int
    count: int = 0

    def image(self) -> Image.Image:
        """RGB, world.RESOLUTION px a side."""
        if self.count:
            return render_several(self.composition, self.count, self.seed)
        return render(self.composition, self.seed)


@dataclass(frozen=True)
class Pool:
    """A fixed set of scenes. held_out: their compositions are those that nothing is trained on.

    varied: every image carries a sticker, a style or both, which change no answer. several: copies of a thing to count.
    """

    name: str
    n: int
    seed: int
    held_out: bool = False
    varied: bool = False
    several: bool = False

    @cached_property
    def scenes(self) -> tuple[Scene, ...]:
        """All scenes; the i-th follows from the pool's seed and i."""
        choices = compositions(self.held_out)
        found = []
        for i in range(self.n):
            rng = np.random.default_rng((self.seed, i))
            composition, seed = choices[rng.integers(len(choices))], int(rng.integers(2**31))
            found.append(Scene(composition, seed, int(rng.integers(1, MOST_COPIES + 1)) if self.several else 0))
        return tuple(found)

    def image(self, i: int) -> Image.Image:
        """The i-th image: RGB, world.RESOLUTION px a side."""
        image = self.scenes[i].image()
        if not self.varied:
            return image
        rng = np.random.default_rng((self.seed, i, 1))
        which = rng.integers(3)
        return vision.augment(image, vision.Augment(styled=float(which != 0), stickers=float(which != 1)), rng)[0]


TRAINING = Pool("training", 3000, 101)
VARIED = Pool("varied", 1500, 102, varied=True)
FRESH = Pool("fresh", 512, 103, held_out=True)
SEVERAL = Pool("several", 800, 104, several=True)
SEVERAL_FRESH = Pool("several-fresh", 128, 105, held_out=True, several=True)


def read_images(tower: CLIPVisionModel, images: list[Image.Image]) -> np.ndarray:
    """Image tokens of each image: (n, tokens, d_vision) float16."""
    found = []
    for start in range(0, len(images), BATCH):
        batch = torch.from_numpy(np.stack([vision.pixels(image) for image in images[start : start + BATCH]]))
        with torch.no_grad():
            found.append(vision.read(tower, batch)[0].half().numpy())
    return np.concatenate(found)


def pool_tokens(pool: Pool, tower: CLIPVisionModel, folder: Path, progress: Progress = silent) -> np.ndarray:
    """Image tokens of all of the pool's images, (n, tokens, d_vision) float16, from `folder` or made and put there."""
    path = folder / f"{pool.name}-{pool.n}-{pool.seed}.npy"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        parts = []
        for start in range(0, pool.n, BATCH):
            progress(f"Images: {pool.name}", start, pool.n)
            parts.append(read_images(tower, [pool.image(i) for i in range(start, min(start + BATCH, pool.n))]))
        save_array(path, np.concatenate(parts))
    return np.load(path, mmap_mode="r", allow_pickle=False)


def save_array(path: Path, array: np.ndarray) -> None:
    """Write the array as .npy in one step."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    write_atomically(path, buffer.getvalue())
