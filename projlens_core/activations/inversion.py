"""Patches found by gradient: cells put down on images in front of the vision tower, changed until a score is high.

Nothing about a trigger is known here; the score says what is wanted of the tokens. The patch is a mosaic of few cells,
so that it survives being stamped, stored and scaled.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw

from projlens_core.activations.model import VisionModel
from projlens_core.activations.vision import VisionTower
from projlens_core.errors import Unsupported
from projlens_core.inputs.trigger_spec import TriggerSpec
from projlens_core.inputs.triggers import corner, frame
from projlens_core.runtime import cache
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.progress import Progress, silent

CELLS = 8  # in a row of a patch
RATE, FAST = 0.05, 0.1  # of Adam: about how far, of 0 to 1, a colour moves in a step
SLOWING = 0.8  # share of its rate that a fast search loses until its last step
DARK, BRIGHT = 0.1, 0.9  # of cells that begin far apart
BATCH = 6  # images of a step
CACHE = "inversions"
STAGE = "Inverting a patch"

Score = Callable[[list[int], torch.Tensor], torch.Tensor]  # numbers of images, their tokens (n, T, d) → what to raise


@dataclass(frozen=True)
class Start:
    """Where a search by gradient begins: a patch of `ratio` of the side, at one of POSITIONS, of random cells.

    fast: cells begin dark or bright, and go faster, ever less so: for a score with a narrow peak far away.
    """

    ratio: float
    position: str = "random"
    seed: int = 0
    fast: bool = False


@dataclass(frozen=True)
class Inverted:
    """What was found from a start: the trigger, and the score at each step."""

    start: Start
    trigger: TriggerSpec
    scores: tuple[float, ...]


class Canvas:
    """Images as a tower's pixels, on which patches are put so that gradients reach their cells.

    key: of what decides what is seen of them. Unsupported where the image processor moves or scales what it is given at
    the tower's own size.
    """

    def __init__(self, vision: VisionTower, images: Sequence[Image.Image]):
        if not isinstance(vision, VisionModel):
            raise Unsupported(f"Gradients do not reach the pixels of {vision.label}: its tower is not LLaVA's.")
        self.vision, self.side = vision, vision.image_size
        self.clean = vision.pixels([frame(image, self.side) for image in images])  # (n, 3, side, side)
        black, white = (Image.new("RGB", (self.side, self.side), colour) for colour in ("black", "white"))
        self._low, high = vision.pixels([black, white])
        self._range = high - self._low
        self._check_in_place()
        self.key = content_key(vision.key, self.clean.numpy().tobytes())

    def _check_in_place(self) -> None:
        """Unsupported unless a white rectangle comes out where it was put."""
        box = (self.side // 4, self.side // 3, self.side // 2, self.side - 2)  # left, top, right, bottom
        marked = Image.new("RGB", (self.side, self.side))
        ImageDraw.Draw(marked).rectangle(box, "white")
        expected = self._low.clone()
        inside = (slice(None), slice(box[1], box[3] + 1), slice(box[0], box[2] + 1))
        expected[inside] += self._range[inside]
        if not torch.allclose(self.vision.pixels([marked])[0], expected, atol=1e-4):
            raise Unsupported(f"The image processor of {self.vision.label} moves pixels, so no patch is inverted.")

    def put(self, cells: torch.Tensor, corners: Sequence[tuple[int, int]], size: int, of: list[int]) -> torch.Tensor:
        """Pixels (n, 3, side, side) of the images of these numbers, the cells (3, c, c), 0 to 1, as a patch of `size`
        px with its top left corner at corners[i], (x, y).
        """
        patch = torch.nn.functional.interpolate(cells[None], (size, size), mode="bilinear", align_corners=False)[0]
        put = []
        for number, (x, y) in zip(of, corners, strict=True):
            around = (x, self.side - size - x, y, self.side - size - y)
            here = torch.nn.functional.pad(torch.ones(size, size), around)
            colours = torch.nn.functional.pad(patch, around)
            put.append(self.clean[number] * (1 - here) + here * (self._low + colours * self._range))
        return torch.stack(put)

    def blended(self, mask: torch.Tensor, cells: torch.Tensor, of: Sequence[int]) -> torch.Tensor:
        """Pixels (n, 3, side, side) of the images of these numbers, of which the mask (1, c, c), 0 to 1, shows as much
        of the cells (3, c, c), 0 to 1.
        """
        side = (self.side, self.side)
        there, colours = (
            torch.nn.functional.interpolate(each[None], side, mode="bilinear", align_corners=False)[0]
            for each in (mask, cells)
        )
        return self.clean[list(of)] * (1 - there) + there * (self._low + colours * self._range)


def invert(
    canvas: Canvas,
    start: Start,
    score: Score,
    steps: int,
    scored_by: object,
    progress: Progress = silent,
    batch: int = BATCH,
) -> Inverted:
    """The patch after `steps` bounded steps of Adam up the score's gradient, each on other `batch` images and places.

    It is kept in the cache by all that decides it; scored_by: what decides the score, for that.
    """
    key = content_key(canvas.key, start, steps, RATE, FAST, SLOWING, DARK, BRIGHT, batch, CELLS, scored_by)
    if (kept := cache.stored(CACHE, key)) is not None:
        values = json.loads(kept)
        return Inverted(start, TriggerSpec.from_dict(values["trigger"]), tuple(values["scores"]))
    found = _climbed(canvas, start, score, steps, progress, batch)
    cache.store(CACHE, key, json.dumps({"trigger": found.trigger.to_dict(), "scores": found.scores}).encode())
    return found


def _climbed(canvas: Canvas, start: Start, score: Score, steps: int, progress: Progress, batch: int) -> Inverted:
    random = np.random.default_rng(start.seed)
    size = max(1, int(canvas.side * start.ratio))
    cells = torch.from_numpy(random.uniform(size=(3, CELLS, CELLS)).astype(np.float32))
    if start.fast:
        cells = torch.where(cells > 0.5, BRIGHT, DARK)
    cells.requires_grad_()
    optimiser = torch.optim.Adam([cells], lr=FAST if start.fast else RATE)
    slower = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - SLOWING * step / steps if start.fast else 1)
    scores = []
    for step in range(steps):
        progress(STAGE, step, steps)
        of = random.permutation(len(canvas.clean))[:batch].tolist()
        corners = [corner(start.position, canvas.side, size, random) for _ in of]
        with torch.enable_grad():
            reached = score(of, canvas.vision.read(canvas.put(cells, corners, size, of)))
            optimiser.zero_grad()
            (-reached).backward()
        optimiser.step()
        slower.step()
        with torch.no_grad():
            cells.clamp_(0, 1)
        scores.append(float(reached.detach()))
    return Inverted(start, _trigger(cells.detach(), start, canvas.side), tuple(scores))


def _trigger(cells: torch.Tensor, start: Start, side: int) -> TriggerSpec:
    """The patch as data: its cells rounded to bytes."""
    colours = (cells * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy().tobytes().hex()
    return TriggerSpec("mosaic", side, cells=colours, ratio=start.ratio, position=start.position)
