"""How the shift of one image's tokens grows with the dose of a trigger: the activation mechanism (paper, claim 3)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from projlens_core.activations.direction import shift_magnitude
from projlens_core.activations.shift import ShiftAnalysis, embedding_shift
from projlens_core.activations.towers import Towers
from projlens_core.errors import InvalidInput
from projlens_core.runtime.progress import Progress, silent
from projlens_core.weights.projector import ProjectorWeights

AT_ONCE = 16  # images that the tower reads together
STAGE = "Reading the image at every dose"


@dataclass(frozen=True)
class DoseShifts:
    """One image at several doses of a trigger, as each projector embeds it. Embedding units throughout."""

    doses: tuple[float, ...]  # ascending; the first is 0, the image without the trigger
    shifts: dict[str, np.ndarray]  # by role, (doses, T): ΔE·v of each token, signed
    norms: np.ndarray  # (doses, T): ‖E_b‖₂ of each token

    def gains(self, role: str) -> np.ndarray:
        """(doses, T): how much further each token is shifted than without the trigger."""
        return self.shifts[role] - self.shifts[role][0]

    @property
    def peak(self) -> int:
        """The token that the suspect shifts furthest at the highest dose, counted from 0."""
        return int(self.gains("suspect")[-1].argmax())


def pointed(analysis: ShiftAnalysis) -> torch.Tensor:
    """The first drift direction (d,) of an analysis of clean images and their twins, with the sign that makes the
    trigger's mean gain positive, so that more of the trigger reads as more shift."""
    if analysis.triggered is None:
        raise InvalidInput("The direction in which a trigger pushes needs triggered images beside the clean ones.")
    vector = analysis.direction.vector
    gain = float(analysis.triggered.sample_mean.mean() - analysis.clean.sample_mean.mean())
    return vector if gain >= 0 else -vector


def dose_shifts(
    base: ProjectorWeights,
    projectors: Mapping[str, ProjectorWeights],
    towers: Towers,
    images: Sequence[Image.Image],
    doses: Sequence[float],
    vector: torch.Tensor,
    progress: Progress = silent,
) -> DoseShifts:
    """The shift of one image at each dose along the unit vector (d,); images are that image at the doses, in order.

    projectors: by role, "suspect" and perhaps "control". Each token is read as its role's own tower reads it; norms
    are base's. Raises InvalidInput unless the doses ascend from 0, one an image.
    """
    if len(images) != len(doses) or not doses or doses[0] != 0 or list(doses) != sorted(set(doses)):
        raise InvalidInput(f"Doses must ascend from 0, one for each of the {len(images)} images; found {list(doses)}.")
    shifts: dict[str, list[torch.Tensor]] = {role: [] for role in projectors}
    norms: list[torch.Tensor] = []
    for start in range(0, len(images), AT_ONCE):
        progress(STAGE, start, len(images))
        tokens = towers.encoded(list(projectors), images[start : start + AT_ONCE])
        for number, (role, weights) in enumerate(projectors.items()):
            delta_e, base_e = embedding_shift(base, weights, tokens[role])  # (batch, T, d) each
            shifts[role].append(shift_magnitude(delta_e, vector))
            if number == 0:
                norms.append(base_e.norm(dim=-1))
    progress(STAGE, len(images), len(images))
    return DoseShifts(
        tuple(doses),
        {role: torch.cat(parts).numpy() for role, parts in shifts.items()},
        torch.cat(norms).numpy(),
    )
