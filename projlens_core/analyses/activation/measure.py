"""One image under the projectors of a case, and the samples that it is compared with."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image

from projlens_core.activations.direction import Direction, DirectionKind
from projlens_core.activations.embedding_map import EmbeddingMap, embedding_map
from projlens_core.activations.layout import WHOLE, Box, TokenMap
from projlens_core.activations.shift import Condition, ShiftAnalysis, analyse, embeddings
from projlens_core.activations.towers import Towers, read_by_base
from projlens_core.cases.case import OpenedCase
from projlens_core.runtime.progress import Progress, silent

ROLES = ("suspect", "control")
CONDITIONS = ("clean", "triggered")


@dataclass(frozen=True)
class SampleShift:
    """The samples' shift under each projector: {role: analysis}, the control along its own direction and `along` the
    suspect's. The control is absent where the case has none. ΔE itself is dropped from all analyses. means: where base
    and they put the mean of each image's embeddings."""

    by_role: dict[str, ShiftAnalysis]
    along: ShiftAnalysis | None
    images: int
    means: EmbeddingMap | None = None


@dataclass(frozen=True)
class ImageShift:
    """The image on screen under one projector: shift per patch, (rows, cols), in embedding units.

    within is what the patches cover of the image: x0, y0, x1, y1 as shares of its sides; None if the model's tokens
    lie on no grid, and then they are one row, (1, T). A model that also reads a thumbnail of the image has its
    tokens in the analysis only, after the patches. placed: where base and the case's projectors put the patches, the
    same for all of them.
    """

    clean: np.ndarray | None
    triggered: np.ndarray | None
    analysis: ShiftAnalysis
    within: Box | None = WHOLE
    placed: EmbeddingMap | None = None

    def maps(self, signed: bool = True) -> dict[str, np.ndarray]:
        """The shift in each condition there is, "clean" first: ΔE·v₀ of each patch (rows, cols), or its magnitude."""
        both = zip(CONDITIONS, (self.clean, self.triggered), strict=True)
        return {c: each if signed else np.abs(each) for c, each in both if each is not None}

    def difference(self, signed: bool = True) -> np.ndarray | None:
        """Triggered − clean of the same, where there are both."""
        maps = self.maps(signed)
        return maps["triggered"] - maps["clean"] if len(maps) == 2 else None

    @property
    def conditions(self) -> dict[str, Condition]:
        """The analysis of the clean and of the triggered image, whichever there is, of one image each."""
        if self.clean is None:
            return {"triggered": self.analysis.clean}  # alone, it stands in the place of the clean one
        parts = {"clean": self.analysis.clean, "triggered": self.analysis.triggered}
        return {name: part for name, part in parts.items() if part is not None}


def sample_shift(
    case: OpenedCase,
    towers: Towers,
    clean: Sequence[Image.Image],
    triggered: Sequence[Image.Image] | None,
    direction: DirectionKind,
    progress: Progress = silent,
) -> SampleShift:
    """Analyse the samples under suspect and control. "pair" without triggered twins falls back to "image"."""
    roles = ["suspect", "control"] if case.control else ["suspect"]
    read = towers.twins(roles, clean, triggered, progress)
    if direction == "pair" and triggered is None:
        direction = "image"
    base_e = [embeddings(case.base, read_by_base(tokens)) for tokens in read["suspect"] if tokens is not None]
    means = {"base": [each.mean(dim=1) for each in base_e]}  # (n, d) each
    by_role: dict[str, ShiftAnalysis] = {}
    along, steps = None, 2 * len(roles) - 1
    for role in roles:
        progress("Comparing the projectors on the samples", len(by_role), steps)
        whole = analyse(case.base, case.projectors[role], *read[role], direction, base_e)
        means[role] = [mean + part.mean(dim=1) for mean, part in zip(means["base"], _shifts(whole), strict=True)]
        by_role[role] = _light(whole)
    if case.control is not None:
        progress("Comparing the projectors on the samples", 2, steps)
        along = _light(analyse(case.base, case.control, *read["control"], by_role["suspect"].directions, base_e))
    placed = embedding_map({role: dict(zip(CONDITIONS, each, strict=False)) for role, each in means.items()})
    return SampleShift(by_role, along, len(clean), placed)


def image_shift(
    case: OpenedCase,
    towers: Towers,
    clean: Image.Image | None,
    triggered: Image.Image | None,
    direction: DirectionKind,
    samples: SampleShift | None,
    progress: Progress = silent,
) -> dict[str, ImageShift]:
    """The image on screen under suspect and control; at least one of clean and triggered is given.

    "universal" takes each projector's direction from the samples; without samples the image has to do.
    """
    images = [image for image in (clean, triggered) if image is not None]
    projectors = {role: getattr(case, role) for role in ROLES if getattr(case, role)}
    read = towers.twins(list(projectors), images[:1], images[1:] or None, progress)  # (1, T, d_vision) each
    if direction == "pair" and len(images) == 1:
        direction = "image"
    layout = towers.layout(images[0].size)
    within = layout.within if layout.grid else None
    base_e: list[torch.Tensor] = []
    found: dict[str, ImageShift] = {}
    patches: dict[str, list[torch.Tensor]] = {}
    shown = math.prod(layout.grid or (1, layout.tokens))  # a thumbnail's tokens are no patches
    for role, projector in projectors.items():
        pair = read[role]
        base_e = base_e or [embeddings(case.base, read_by_base(part)) for part in pair if part is not None]
        chosen: DirectionKind | Direction = direction
        if direction == "universal" and samples is not None:
            chosen = samples.by_role[role].direction
        whole = analyse(case.base, projector, *pair, chosen, base_e)
        patches.setdefault("base", [each[0, :shown] for each in base_e])
        patches[role] = [own + part[0, :shown] for own, part in zip(patches["base"], _shifts(whole), strict=True)]
        analysis = _light(whole)
        maps = (*(_map(condition, layout) for condition in analysis.conditions.values()), None)
        first, second = (None, maps[0]) if clean is None else maps[:2]  # alone, it is analysed as clean
        found[role] = ImageShift(first, second, analysis, within)
    conditions = CONDITIONS if clean is not None else CONDITIONS[1:]
    placed = embedding_map({role: dict(zip(conditions, each, strict=False)) for role, each in patches.items()})
    return {role: replace(each, placed=placed) for role, each in found.items()}


def _shifts(analysis: ShiftAnalysis) -> list[torch.Tensor]:
    """ΔE (n, T, d) of each condition."""
    return [condition.delta_e for condition in analysis.conditions.values()]


def _light(analysis: ShiftAnalysis) -> ShiftAnalysis:
    """The analysis without ΔE itself, which nothing on screen needs and which takes gigabytes for a large model."""
    parts = {name: getattr(analysis, name) for name in CONDITIONS}
    return replace(
        analysis, **{name: replace(part, delta_e=part.delta_e[:0].clone()) for name, part in parts.items() if part}
    )


def _map(condition: Condition, layout: TokenMap) -> np.ndarray:
    grid = layout.grid or (1, layout.tokens)
    return condition.shift[0, : math.prod(grid)].reshape(grid).numpy()
