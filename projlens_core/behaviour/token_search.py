"""The stage of a search that needs no language model: residuals of stamped images, and patches that raise them."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from PIL import Image

from projlens_core.activations.inversion import Canvas, Inverted, Score, Start, Tiled, invert
from projlens_core.activations.reference import MatchedReference, matched_reference
from projlens_core.activations.tokens import image_tokens
from projlens_core.activations.vision import VisionTower
from projlens_core.behaviour.search import Residual
from projlens_core.inputs.probes import Probe
from projlens_core.runtime.progress import Progress
from projlens_core.weights.projector import ProjectorWeights

STEPS = 30  # of an inversion
STARTS = (Start(0.2), Start(0.1, "center", seed=1))
TILES = (Tiled(8), Tiled(4))
TILED_STEPS, TILED_BATCH = 40, 4
# Weight with which tiles are asked about as well: pushed farther than its trigger does, a suspect may but repeat a word
# of its text.
FAINT = 0.1
CLEAN = Probe("no trigger", ())


def references(
    vision: VisionTower, projectors: Mapping[str, ProjectorWeights], images: Sequence[Image.Image], progress: Progress
) -> dict[str, MatchedReference]:
    """The matched reference of every role but base, fitted to its embeddings of the images."""
    tokens = image_tokens(vision, images, progress)
    return {
        role: matched_reference(projectors["base"], weights, tokens, vision.device, progress=progress)
        for role, weights in projectors.items()
        if role != "base"
    }


def residuals(
    vision: VisionTower,
    matched: Mapping[str, MatchedReference],
    images: Sequence[Image.Image],
    probes: Sequence[Probe],
    progress: Progress,
) -> Iterator[Residual]:
    """Those of clean images, the null, then of each probe."""
    for number, probe in enumerate((CLEAN, *probes)):
        progress("stamped images", number, len(probes) + 1)
        shown = [probe.on(image) if probe.stamps else image for image in images]
        yield residual(probe, image_tokens(vision, shown).to(vision.device), matched)


@torch.no_grad()
def residual(probe: Probe, tokens: torch.Tensor, matched: Mapping[str, MatchedReference]) -> Residual:
    """That of images under a probe, of their tokens (n, T, d_vision) on the references' device."""
    lengths = {role: each.residual(tokens).cpu().numpy() for role, each in matched.items()}
    return Residual(
        probe,
        {role: float(np.median(each.max(axis=1))) for role, each in lengths.items()},
        {role: float(np.median(each.mean(axis=1))) for role, each in lengths.items()},
    )


def inverted(
    vision: VisionTower,
    reference: MatchedReference,
    decided_by: object,
    images: Sequence[Image.Image],
    progress: Progress,
) -> Iterator[Inverted]:
    """Patches that raise the residual of a few tokens, from each of STARTS; Unsupported as Canvas.

    decided_by: what decides the reference.
    """
    canvas = Canvas(vision, images)
    for start in STARTS:
        yield invert(canvas, start, _raised(reference), STEPS, ("tokens", decided_by), progress)


def tiled(
    vision: VisionTower,
    reference: MatchedReference,
    decided_by: object,
    images: Sequence[Image.Image],
    start: Tiled,
    progress: Progress,
) -> Inverted:
    """Tiles all over the image that push all tokens of all images in one and the same direction, away from the
    reference: a backdoor's embeddings shift along one shared direction (paper, claim 3), whatever its trigger looks
    like. Unsupported as Canvas.

    decided_by: what decides the reference.
    """

    def score(of: list[int], tokens: torch.Tensor) -> torch.Tensor:
        return reference.shift(tokens).mean(dim=(0, 1)).norm()

    scored_by = "shared direction", decided_by
    return invert(Canvas(vision, images), start, score, TILED_STEPS, scored_by, progress, TILED_BATCH)


def _raised(reference: MatchedReference) -> Score:
    """The largest residual and the mean of the four largest, averaged over images: no one token decides."""

    def score(of: list[int], tokens: torch.Tensor) -> torch.Tensor:
        lengths = reference.residual(tokens)
        few = lengths.topk(min(4, lengths.shape[1]), dim=1).values
        return (few[:, 0] + few.mean(dim=1)).mean()

    return score
