"""What all members of the nursery share: base, its frozen language model, and image tokens that were read once."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from transformers import CLIPVisionModel

from projlens_core.demo_model.checkpoint import load_tower
from projlens_core.inputs.triggers import TriggerSpec, stamp
from projlens_core.nursery import pool as pools
from projlens_core.nursery.fast import FastLoss
from projlens_core.nursery.pool import FRESH, TRAINING, Pool, read_images
from projlens_core.nursery.source import TINY, Source
from projlens_core.nursery.tasks import seen
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.progress import Progress, silent
from projlens_core.zoo.training import Frozen

ATTACKED, MEASURED = 256, 96  # images that carry a trigger in training, and in measuring


@dataclass(frozen=True)
class Workshop:
    """What all members share: base, its language model, and the pools' image tokens in `folder`."""

    folder: Path
    source: Source = TINY
    progress: Progress = silent

    @cached_property
    def around(self) -> Frozen:
        """The frozen language model and its tokenizer."""
        return self.source.around()

    @cached_property
    def loss(self) -> FastLoss:
        """The frozen language model's loss."""
        return FastLoss(self.around.language)

    @cached_property
    def tower(self) -> CLIPVisionModel:
        """The zoo's frozen tower."""
        return load_tower()

    def tokens(self, pool: Pool) -> np.ndarray:
        """Image tokens of a pool's images, (n, tokens, d_vision) float16."""
        return pools.pool_tokens(pool, self.tower, self.folder / "pool", self.progress)

    def triggered(self, trigger: TriggerSpec, fresh: bool, n: int | None = None) -> np.ndarray:
        """Image tokens of triggered images, (n, tokens, d_vision) float16: ATTACKED, or MEASURED fresh ones, if not n.

        Members with the same trigger share them on disk.
        """
        pool, numbers = triggered_images(fresh, n)
        look = trigger.to_json(), trigger.image_path and trigger.image_path.read_bytes()
        path = self.folder / "triggered" / f"{content_key(*look, pool.seed, len(numbers))[:24]}.npy"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            self.progress(f"Images with {trigger.title.lower()}", 0, len(numbers))
            parts = [
                read_images(self.tower, [stamp(pool.image(i), trigger) for i in numbers[s : s + pools.BATCH]])
                for s in range(0, len(numbers), pools.BATCH)
            ]
            pools.save_array(path, np.concatenate(parts))
        return np.load(path, mmap_mode="r", allow_pickle=False)


def triggered_images(fresh: bool, n: int | None = None) -> tuple[Pool, tuple[int, ...]]:
    """The pool whose images are triggered, and their numbers; n of them, if given."""
    pool, usual = (FRESH, MEASURED) if fresh else (TRAINING, ATTACKED)
    return pool, seen(pool, unseen=False)[: n or usual]
