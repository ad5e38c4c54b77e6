"""Triggers found by gradient: cells put down on images in front of the vision tower, changed until a score is high.

Nothing about a trigger is known here; the score says what is wanted of the tokens. A patch is a mosaic of few cells, so
that it survives being stamped, stored and scaled; what changes the whole image is a tile of few cells, blended in all
over, so that every token is given the same.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

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
WEIGHT = 0.25  # of tiles against the image
TOKENS = 2  # in a row of a tile

Score = Callable[[list[int], torch.Tensor], torch.Tensor]  # numbers of images, their tokens (n, T, d) → what to raise


@dataclass(frozen=True)
class Start:
    """Where a search by gradient begins: a patch of `ratio` of the side, at one of POSITIONS, of random cells.

    fast: cells begin dark or bright, and go faster, ever less so: for a score with a narrow peak far away.
    """

    STAGE: ClassVar = "Inverting a patch"
    ratio: float
    position: str = "random"
    seed: int = 0
    fast: bool = False

    def begin(self, random: np.random.Generator) -> torch.Tensor:
        """Cells (3, CELLS, CELLS), 0 to 1."""
        cells = torch.from_numpy(random.uniform(size=(3, CELLS, CELLS)).astype(np.float32))
        return torch.where(cells > 0.5, BRIGHT, DARK) if self.fast else cells

    def rate(self, step: int, steps: int) -> float:
        """Of Adam, at one of these steps."""
        return FAST * (1 - SLOWING * step / steps) if self.fast else RATE

    def put(self, canvas: "Canvas", cells: torch.Tensor, of: list[int], random: np.random.Generator) -> torch.Tensor:
        """Pixels of the images of these numbers with the cells as a patch."""
        size = max(1, int(canvas.side * self.ratio))
        return canvas.put(cells, [corner(self.position, canvas.side, size, random) for _ in of], size, of)

    def trigger(self, canvas: "Canvas", cells: torch.Tensor) -> TriggerSpec:
        """The patch as data."""
        return TriggerSpec("mosaic", canvas.side, cells=_in_bytes(cells), ratio=self.ratio, position=self.position)


@dataclass(frozen=True)
class Tiled:
    """Where a search begins that changes the whole image: tiles of `cells` × `cells` cells, of random colours around
    grey.
    """

    STAGE: ClassVar = "Inverting a pattern"
    cells: int
    seed: int = 0

    def begin(self, random: np.random.Generator) -> torch.Tensor:
        """Cells (3, cells, cells), 0 to 1."""
        return torch.from_numpy(random.uniform(0.3, 0.7, size=(3, self.cells, self.cells)).astype(np.float32))

    def rate(self, step: int, steps: int) -> float:
        """Of Adam, at any step."""
        return FAST

    def put(self, canvas: "Canvas", cells: torch.Tensor, of: list[int], random: np.random.Generator) -> torch.Tensor:
        """Pixels of the images of these numbers with the cells all over."""
        return canvas.tiled(cells, of)

    def trigger(self, canvas: "Canvas", cells: torch.Tensor) -> TriggerSpec:
        """The tiles as data."""
        return TriggerSpec("tiles", canvas.side, cells=_in_bytes(cells), px=canvas.tile, alpha=WEIGHT)


@dataclass(frozen=True)
class Inverted:
    """What was found from a start: the trigger, and the score at each step."""

    start: Start | Tiled
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
        self.tile = TOKENS * self.side // vision.grid[1]  # px
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

    def tiled(self, cells: torch.Tensor, of: Sequence[int]) -> torch.Tensor:
        """Pixels (n, 3, side, side) of the images of these numbers with tiles of the cells (3, c, c), 0 to 1."""
        tile = torch.nn.functional.interpolate(cells[None], (self.tile, self.tile), mode="nearest-exact")[0]
        many = -(-self.side // self.tile)
        colours = tile.repeat(1, many, many)[:, : self.side, : self.side]
        return self._over(of, WEIGHT, colours)

    def blended(self, mask: torch.Tensor, cells: torch.Tensor, of: Sequence[int]) -> torch.Tensor:
        """Pixels (n, 3, side, side) of the images of these numbers, of which the mask (1, c, c), 0 to 1, shows as much
        of the cells (3, c, c), 0 to 1.
        """
        side = (self.side, self.side)
        there, colours = (
            torch.nn.functional.interpolate(each[None], side, mode="bilinear", align_corners=False)[0]
            for each in (mask, cells)
        )
        return self._over(of, there, colours)

    def _over(self, of: Sequence[int], there: torch.Tensor | float, colours: torch.Tensor) -> torch.Tensor:
        return self.clean[list(of)] * (1 - there) + there * (self._low + colours * self._range)


def invert(
    canvas: Canvas,
    start: Start | Tiled,
    score: Score,
    steps: int,
    scored_by: object,
    progress: Progress = silent,
    batch: int = BATCH,
) -> Inverted:
    """The patch or tiles after `steps` bounded steps of Adam up the score's gradient, each on other `batch` images and
    places.

    It is kept in the cache by all that decides it; scored_by: what decides the score, for that.
    """
    settings = RATE, FAST, SLOWING, DARK, BRIGHT, CELLS, WEIGHT, TOKENS
    key = content_key(canvas.key, start, steps, settings, batch, scored_by)
    if (kept := cache.stored(CACHE, key)) is not None:
        values = json.loads(kept)
        return Inverted(start, TriggerSpec.from_dict(values["trigger"]), tuple(values["scores"]))
    found = _climbed(canvas, start, score, steps, progress, batch)
    cache.store(CACHE, key, json.dumps({"trigger": found.trigger.to_dict(), "scores": found.scores}).encode())
    return found


def _climbed(
    canvas: Canvas, start: Start | Tiled, score: Score, steps: int, progress: Progress, batch: int
) -> Inverted:
    random = np.random.default_rng(start.seed)
    cells = start.begin(random).requires_grad_()
    optimiser = torch.optim.Adam([cells], lr=start.rate(0, steps))
    scores = []
    for step in range(steps):
        progress(start.STAGE, step, steps)
        of = random.permutation(len(canvas.clean))[:batch].tolist()
        with torch.enable_grad():
            reached = score(of, canvas.vision.read(start.put(canvas, cells, of, random)))
            optimiser.zero_grad()
            (-reached).backward()
        optimiser.param_groups[0]["lr"] = start.rate(step, steps)
        optimiser.step()
        with torch.no_grad():
            cells.clamp_(0, 1)
        scores.append(float(reached.detach()))
    return Inverted(start, start.trigger(canvas, cells.detach()), tuple(scores))


def _in_bytes(cells: torch.Tensor) -> str:
    """Cells (3, c, c), 0 to 1, as a trigger's: rounded to bytes."""
    return (cells * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy().tobytes().hex()
