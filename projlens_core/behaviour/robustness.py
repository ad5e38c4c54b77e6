"""Which changes of a trigger still work: scored by the shift they bring about, and where that is not enough by ASR.

The shift needs no language model: one pass of the tower an image. The ruler stays the same throughout, the drift
direction that the unchanged trigger has under the suspect.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from PIL import Image

from projlens_core.activations.direction import drift_direction, shift_magnitude
from projlens_core.activations.shift import embedding_shift
from projlens_core.activations.towers import Tokens, Towers
from projlens_core.behaviour.responder import NEW_TOKENS, Responder
from projlens_core.behaviour.scoring import Questions, Score, Scorer
from projlens_core.errors import InvalidInput
from projlens_core.inputs.changes import ORIGINAL, Change, changed, clean_twin
from projlens_core.inputs.triggers import TriggerSpec
from projlens_core.runtime.progress import Progress, labelled, silent
from projlens_core.stats.auroc import Separation, separation
from projlens_core.stats.mean import Mean, mean_of, share_interval
from projlens_core.weights.projector import ProjectorWeights

BATCH = 16  # images that the tower reads together
KEEPS = 0.5  # share of the unchanged trigger's gain with which a change counts as one that still works
STAGE = "Trying changes of the trigger"


@dataclass(frozen=True)
class Push:
    """How far a changed trigger pushes images under one projector, along the ruler.

    apart: mean shift of triggered against clean images, both rescaled and compressed alike. gain: what the trigger
    adds to an image's mean shift, in embedding units. kept: gain.mean as a share of the unchanged trigger's under the
    suspect, with its interval; NaN if that is zero, the interval also if a resample's is not above zero. margin: gain
    less KEEPS times what the unchanged trigger adds to the same image under the suspect: paired, so that images which
    differ much leave no doubt about a change that does little.
    """

    apart: Separation
    gain: Mean
    kept: float
    margin: Mean
    kept_low: float = float("nan")
    kept_high: float = float("nan")


@dataclass(frozen=True)
class TriedChange:
    """One change: pushes by role, "suspect" and perhaps "control"; empty, with the reason, where it cannot be made."""

    change: Change
    pushes: dict[str, Push]
    reason: str | None = None


def ruler(
    base: ProjectorWeights,
    suspect: ProjectorWeights,
    towers: Towers,
    images: Sequence[Image.Image],
    spec: TriggerSpec,
    progress: Progress = silent,
) -> torch.Tensor:
    """The unit vector (d,) on which shifts are read: the suspect's universal drift direction of the unchanged trigger,
    with the sign that makes the trigger's mean gain positive, so that an AUROC above 0.5 means what one expects.
    """
    sides = []
    for make in (clean_twin, changed):
        made = (make(image, spec, ORIGINAL) for image in images)
        chunks = (tokens["suspect"] for tokens in _tokens(towers, ["suspect"], made, progress, len(images)))
        sides.append(torch.cat([embedding_shift(base, suspect, tokens)[0] for tokens in chunks]))
    clean, triggered = sides  # (n, T, d) each
    vector = drift_direction(torch.cat([clean, triggered])).vector
    gain = shift_magnitude(triggered, vector).mean() - shift_magnitude(clean, vector).mean()
    return vector if gain >= 0 else -vector


def sweep(
    base: ProjectorWeights,
    suspect: ProjectorWeights,
    control: ProjectorWeights | None,
    towers: Towers,
    images: Sequence[Image.Image],
    spec: TriggerSpec,
    tried: Sequence[Change],
    progress: Progress = silent,
) -> Iterator[TriedChange]:
    """Score each change by shift, one after the other; the original, with which the others are compared, comes first.

    A change that cannot be stamped on some image is not measured on the rest either, and says why. Raises
    InvalidInput if there are no images, or base and suspect are the same.
    """
    if not images:
        raise InvalidInput("There is no image to try the trigger on.")
    roles = {"suspect": suspect, **({"control": control} if control else {})}
    vector = ruler(base, suspect, towers, images, spec, progress)
    whole: torch.Tensor | None = None  # (n,) what the unchanged trigger adds under the suspect
    clean: dict[tuple, dict[str, torch.Tensor]] = {}
    wanted = list(dict.fromkeys((ORIGINAL, *tried)))
    for number, change in enumerate(wanted, start=1):
        report = labelled(progress, f"{change.label}, {number} of {len(wanted)}")
        try:
            triggered = (changed(image, spec, change) for image in images)
            after = _means(base, roles, towers, triggered, vector, report, len(images))
        except InvalidInput as error:
            if change == ORIGINAL:
                raise
            yield TriedChange(change, {}, str(error))
            continue
        arrived = (change.scale, change.quality)  # all that the clean images depend on
        if arrived not in clean:
            twins = (clean_twin(image, spec, change) for image in images)
            clean[arrived] = _means(base, roles, towers, twins, vector, report, len(images))
        before = clean[arrived]
        gains = {role: after[role] - before[role] for role in roles}  # (n,) each
        whole = gains["suspect"] if whole is None else whole
        yield TriedChange(change, {role: _push(before[role], after[role], gains[role], whole) for role in roles})


def _push(before: torch.Tensor, after: torch.Tensor, gains: torch.Tensor, whole: torch.Tensor) -> Push:
    """Of mean shifts (n,) without and with the trigger; whole (n,): what the unchanged one adds under the suspect."""
    gain, mean = mean_of(gains.numpy()), mean_of(whole.numpy()).mean
    low, high = share_interval(gains.numpy(), whole.numpy())
    return Push(
        apart=separation(before, after),
        gain=gain,
        kept=gain.mean / mean if mean else float("nan"),
        margin=mean_of((gains - KEEPS * whole).numpy()),
        kept_low=low,
        kept_high=high,
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
    triggered = tuple(changed(image, spec, change) for image in images)
    asked = Questions(triggered, triggered, tuple(prompts), (None,) * len(triggered), target, max_new_tokens)
    scorer = Scorer(responder, asked)
    return {role: scorer.score(weights, progress) for role, weights in projectors.items()}


def _means(
    base: ProjectorWeights,
    roles: dict[str, ProjectorWeights],
    towers: Towers,
    images: Iterable[Image.Image],
    vector: torch.Tensor,
    progress: Progress,
    count: int,
) -> dict[str, torch.Tensor]:
    """Mean shift of each image, (count,), by role."""
    found: dict[str, list[torch.Tensor]] = {role: [] for role in roles}
    for tokens in _tokens(towers, list(roles), images, progress, count):
        for role, weights in roles.items():
            delta_e, _ = embedding_shift(base, weights, tokens[role])
            found[role].append(shift_magnitude(delta_e, vector).mean(dim=1))  # (batch,)
    return {role: torch.cat(values) for role, values in found.items()}


def _tokens(
    towers: Towers, roles: Sequence[str], images: Iterable[Image.Image], progress: Progress, count: int
) -> Iterator[dict[str, Tokens]]:
    """Tokens (batch, T, d_vision) of `count` images by role, made as they are needed. Not kept on disk: each is read
    once."""
    remaining = iter(images)
    for start in range(0, count, BATCH):
        progress(STAGE, start, count)
        batch = list(islice(remaining, BATCH))
        yield towers.encoded(roles, batch)
