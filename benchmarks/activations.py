"""Job of the Activation page: one uploaded image as heatmaps."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.comparison import Comparison, Repeats, Results, within
from benchmarks.report import TIME, Target
from benchmarks.setting import BASE, SUSPECT, trigger, uploads
from projlens_core.activations.model import load_vision
from projlens_core.activations.shift import ShiftAnalysis, analyse
from projlens_core.activations.tokens import image_tokens
from projlens_core.cases.case import read_projectors
from projlens_core.inputs.images import decode
from projlens_core.inputs.triggers import frame, stamp

SHIFT_SHARE = 1e-4  # ΔE is a difference of two embeddings, and each side sums in its own order


def heatmaps(folder: Path) -> Callable[[int], dict[str, np.ndarray]]:
    """Shift of each patch of one uploaded image, clean and triggered, along the drift direction of the pair."""
    base, suspect = read_projectors([BASE, SUSPECT])
    tower, spec, images = load_vision(BASE), trigger(), uploads(folder)

    def work(call: int) -> dict[str, np.ndarray]:
        image = decode(images[call].read_bytes(), images[call].name).pixels
        clean, triggered = image_tokens(tower, [make(image, spec) for make in (frame, stamp)]).chunk(2)
        return _shift(analyse(base, suspect, clean, triggered, "pair"))  # each (1, T, d_vision)

    return work


def agree(reference: Results, ours: Results) -> str:
    """Every patch's shift, clean and triggered."""
    return "; ".join(
        within(f"{name.capitalize()} shifts", reference[name], ours[name], SHIFT_SHARE)
        for name in ("clean", "triggered")
    )


HEATMAPS = Comparison(
    name="heatmaps",
    title="new image → heatmaps (zoo, warm)",
    prepare="benchmarks.inputs:models_and_uploads",
    reference="benchmarks.reference:heatmaps",
    ours="benchmarks.activations:heatmaps",
    agree=agree,
    warm=True,
    ours_repeats=Repeats(calls=7),
    reference_repeats=Repeats(calls=3),
    targets={TIME: Target(at_most=1)},
    notes=("From the file's bytes: decode, frame, stamp, tower, both projectors, direction, shift of every patch.",),
)


def _shift(analysis: ShiftAnalysis) -> dict[str, np.ndarray]:
    conditions: dict[str, torch.Tensor] = {"clean": analysis.clean.shift, "triggered": analysis.triggered.shift}
    return {name: shift.numpy() for name, shift in conditions.items()}
