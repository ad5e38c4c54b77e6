"""Which changes of a trigger still work: scored by the shift they bring about, and where that is not enough by ASR.

The shift needs no language model: one pass of the tower a picture. The ruler stays the same throughout, the drift
direction that the unchanged trigger has under the suspect.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from PIL import Image

from projlens_core.activations.direction import drift_direction, shift_magnitude
from projlens_core.activations.model import VisionModel
from projlens_core.activations.separation import Separation, separation
from projlens_core.activations.shift import embedding_shifts
from projlens_core.behaviour.mean import Mean, mean_of
from projlens_core.behaviour.respond import NEW_TOKENS, Responder
from projlens_core.behaviour.scoring import Questions, Score, Scorer
from projlens_core.errors import InvalidInput
from projlens_core.inputs.changes import ORIGINAL, Change, changed_pair
from projlens_core.inputs.triggers import TriggerSpec
from projlens_core.progress import Progress, silent
from projlens_core.weights.projector import ProjectorWeights

BATCH = 16  # pictures that the tower reads together
STAGE = "Trying changes of the trigger"


@dataclass(frozen=True)
class Push:
    """How far a changed trigger pushes pictures under one projector, along the ruler.

    apart: mean shift of triggered against clean pictures, both rescaled and compressed alike. gain: what the trigger
    adds to a picture's mean shift, in embedding units. kept: gain.mean as a share of the unchanged trigger's under
    the suspect; NaN if that is zero.
    """

    apart: Separation
    gain: Mean
    kept: float


@dataclass(frozen=True)
class Tried:
    """One change: pushes by role, "suspect" and perhaps "control"; empty, with the reason, where it cannot be made."""

    change: Change
    pushes: dict[str, Push]
    reason: str | None = None


def ruler(
    base: ProjectorWeights,
    suspect: ProjectorWeights,
    tower: VisionModel,
    images: Sequence[Image.Image],
    spec: TriggerSpec,
    progress: Progress = silent,
) -> torch.Tensor:
    """The unit vector (d,) on which shifts are read: the suspect's universal drift direction of the unchanged trigger,
    with the sign that makes the trigger's mean gain positive, so that an AUROC above 0.5 means what one expects.
    """
    clean, triggered = [], []
    for pair in _batches(tower, images, spec, ORIGINAL, progress):
        for found, tokens in zip((clean, triggered), pair, strict=True):
            found += [delta for delta, _ in embedding_shifts(base, suspect, [tokens])]
    clean, triggered = torch.cat(clean), torch.cat(triggered)  # (n, T, d) each
    vector = drift_direction(torch.cat([clean, triggered])).vector
    gain = shift_magnitude(triggered, vector).mean() - shift_magnitude(clean, vector).mean()
    return vector if gain >= 0 else -vector


def sweep(
    base: ProjectorWeights,
    suspect: ProjectorWeights,
    control: ProjectorWeights | None,
    tower: VisionModel,
    images: Sequence[Image.Image],
    spec: TriggerSpec,
    tried: Sequence[Change],
    progress: Progress = silent,
) -> Iterator[Tried]:
    """Score each change by shift, one after the other; the original, which the others are held against, comes first.

    A change that cannot be stamped on some picture is not measured on the rest either, and says why. Raises
    InvalidInput if there are no images, or base and suspect are the same.
    """
    if not images:
        raise InvalidInput("There is no image to try the trigger on.")
    roles = {"suspect": suspect, **({"control": control} if control else {})}
    vector = ruler(base, suspect, tower, images, spec, progress)
    whole: float | None = None
    wanted = list(dict.fromkeys((ORIGINAL, *tried)))
    for number, change in enumerate(wanted, start=1):
        told = _told(progress, f"{change.label}, {number} of {len(wanted)}")
        try:
            means = _means(base, roles, tower, images, spec, change, vector, told)
        except InvalidInput as error:
            if change == ORIGINAL:
                raise
            yield Tried(change, {}, str(error))
            continue
        gains = {role: mean_of((after - before).numpy()) for role, (before, after) in means.items()}
        whole = gains["suspect"].mean if whole is None else whole
        yield Tried(
            change,
            {
                role: Push(
                    apart=separation(before, after),
                    gain=gains[role],
                    kept=gains[role].mean / whole if whole else float("nan"),
                )
                for role, (before, after) in means.items()
            },
        )


def attack_scores(
    responder: Responder,
    projectors: dict[str, ProjectorWeights],
    images: Sequence[Image.Image],
    spec: TriggerSpec,
    change: Change,
    prompts: Sequence[str],
    target: str,
    max_new_tokens: int = NEW_TOKENS,
    progress: Progress = silent,
) -> dict[str, Score]:
    """Attack success of one change by role; kept on disk by content (see Scorer). Clean utility is not asked."""
    triggered = tuple(changed_pair(image, spec, change)[1] for image in images)
    asked = Questions(triggered, triggered, tuple(prompts), (None,) * len(triggered), target, max_new_tokens)
    scorer = Scorer(responder, asked)
    return {role: scorer.score(weights, progress) for role, weights in projectors.items()}


def _told(progress: Progress, what: str) -> Progress:
    return lambda stage, done, total: progress(f"{stage} ({what})", done, total)


def _means(
    base: ProjectorWeights,
    roles: dict[str, ProjectorWeights],
    tower: VisionModel,
    images: Sequence[Image.Image],
    spec: TriggerSpec,
    change: Change,
    vector: torch.Tensor,
    progress: Progress,
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Mean shift of each picture by role: clean (n,) and triggered (n,)."""
    found: dict[str, list[list[torch.Tensor]]] = {role: [[], []] for role in roles}
    for pair in _batches(tower, images, spec, change, progress):
        for role, weights in roles.items():
            for values, (delta, _) in zip(found[role], embedding_shifts(base, weights, pair), strict=True):
                values.append(shift_magnitude(delta, vector).mean(dim=1))  # (batch,)
    return {role: (torch.cat(before), torch.cat(after)) for role, (before, after) in found.items()}


def _batches(
    tower: VisionModel,
    images: Sequence[Image.Image],
    spec: TriggerSpec,
    change: Change,
    progress: Progress,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Tokens (batch, T, d_vision) of clean and of triggered pictures. Not kept on disk: each is read once."""
    for start in range(0, len(images), BATCH):
        progress(STAGE, start, len(images))
        pairs = [changed_pair(image, spec, change) for image in images[start : start + BATCH]]
        yield tower.encode([clean for clean, _ in pairs]), tower.encode([triggered for _, triggered in pairs])
