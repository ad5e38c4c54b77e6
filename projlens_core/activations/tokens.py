"""Images → vision-tower tokens: each image through the tower once, ever; later calls read the disk."""

from collections.abc import Sequence

import torch
from PIL import Image

from projlens_core.activations.vision import VisionTower
from projlens_core.errors import InvalidInput
from projlens_core.runtime import cache
from projlens_core.runtime.fifo_lock import FifoLock
from projlens_core.runtime.progress import Progress, silent

CACHE = "tokens"
STAGE = "Reading images with the vision tower"
LINE = FifoLock("the vision tower")


def image_tokens(
    vision: VisionTower, images: Sequence[Image.Image], progress: Progress = silent, batch_size: int = 16
) -> torch.Tensor:
    """Tokens (n, tokens, d_vision) of the images in float32, from the cache where they are in it.

    The key is the content of tower, preprocessing and image, never a name. Processes may share the cache; an entry
    that is damaged is computed anew, and without a usable cache everything is. progress counts images.
    """
    images = [image.convert("RGB") for image in images]
    if not images:
        return torch.empty(0, vision.tokens or 0, vision.d_vision)
    keys = [cache.content_key(vision.key, image.size, image.tobytes()) for image in images]
    kept = {key: _load(key, vision) for key in set(keys)}
    found = {key: tokens for key, tokens in kept.items() if tokens is not None}
    missing = {key: image for key, image in zip(keys, images, strict=True) if key not in found}  # each once
    todo = list(missing.items())
    done = len(found)
    progress(STAGE, done, len(kept))
    for start in range(0, len(todo), batch_size):
        batch = todo[start : start + batch_size]
        with LINE.turn(progress):  # one batch in memory, however many ask; between two of them it is another's turn
            encoded = vision.encode([image for _, image in batch])
        for (key, _), tokens in zip(batch, encoded, strict=True):
            found[key] = tokens
            cache.store(CACHE, key, tokens.contiguous().numpy().tobytes())
        done += len(batch)
        progress(STAGE, done, len(kept))
    return alike([found[key] for key in keys], [image.size for image in images])


def alike(tokens: list[torch.Tensor], sizes: Sequence[tuple[int, int]]) -> torch.Tensor:
    """Stack the tokens of several images of these sizes; InvalidInput if there are not equally many for each."""
    counts = {len(each): size for each, size in zip(tokens, sizes, strict=True)}
    if len(counts) > 1:
        (a, first), (b, second) = list(counts.items())[:2]
        raise InvalidInput(
            f"An image of {first[0]} × {first[1]} px makes {a} image tokens in this model and one of {second[0]} × "
            f"{second[1]} px makes {b}; choose a trigger with a resolution, which frames all images alike."
        )
    return torch.stack(tokens)


def _load(key: str, vision: VisionTower) -> torch.Tensor | None:
    """The tokens stored under `key`, or None if there are none or not as many as an image has."""
    data = cache.stored(CACHE, key)
    if not data or len(data) % (4 * vision.d_vision):
        return None
    tokens = torch.frombuffer(bytearray(data), dtype=torch.float32).reshape(-1, vision.d_vision)
    return tokens if vision.tokens in (None, len(tokens)) else None
