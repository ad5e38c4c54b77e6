"""Jobs of the Activation page: one uploaded picture as heatmaps, and the shift of many pictures."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.comparison import Comparison, Repeats, Results, within
from benchmarks.report import TIME, Target
from benchmarks.setting import BASE, SUSPECT, picture_set, trigger, uploads
from projlens_core.activations.model import load_vision
from projlens_core.activations.shift import ShiftAnalysis, analyse
from projlens_core.activations.tokens import image_tokens
from projlens_core.evidence.case import read_projectors
from projlens_core.inputs.images import decode
from projlens_core.inputs.triggers import frame, stamp

SHIFT_SHARE = 1e-4  # ΔE is a difference of two embeddings, and each side sums in its own order


def heatmaps(folder: Path) -> Callable[[int], dict[str, np.ndarray]]:
    """Shift of each patch of one uploaded picture, clean and triggered, along the drift direction of the pair."""
    return _shift_work(lambda call: [uploads(folder)[call]], "pair")


def shifts(folder: Path) -> Callable[[int], dict[str, np.ndarray]]:
    """Shift of each patch of many pictures, clean and triggered, along one drift direction of all of them."""
    return _shift_work(lambda call: picture_set(folder), "universal")


def agree(reference: Results, ours: Results) -> str:
    """Every patch's shift, clean and triggered."""
    return "; ".join(
        within(f"{name.capitalize()} shifts", reference[name], ours[name], SHIFT_SHARE)
        for name in ("clean", "triggered")
    )


HEATMAPS = Comparison(
    name="heatmaps",
    title="new picture → heatmaps (zoo, warm)",
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

SHIFTS = Comparison(
    name="shifts",
    title="shift of 64 pictures (zoo)",
    prepare="benchmarks.inputs:models_and_set",
    reference="benchmarks.reference:shifts",
    ours="benchmarks.activations:shifts",
    agree=agree,
    warm=False,
    ours_repeats=Repeats(processes=3),
    reference_repeats=Repeats(processes=1),
    targets={TIME: Target(ahead_by=10)},
    notes=("Each picture clean and triggered. Time is that of the whole process, imports and models included.",),
)


def _shift_work(pictures: Callable[[int], list[Path]], direction: str) -> Callable[[int], dict[str, np.ndarray]]:
    """The core's way from files to shifts; `pictures` gives a call's files."""
    base, suspect = read_projectors([BASE, SUSPECT])
    tower, spec = load_vision(BASE), trigger()

    def work(call: int) -> dict[str, np.ndarray]:
        images = [decode(path.read_bytes(), path.name).image for path in pictures(call)]
        tokens = image_tokens(tower, [make(image, spec) for make in (frame, stamp) for image in images])
        clean, triggered = tokens.chunk(2)  # (n, T, d_vision) each
        return _shift(analyse(base, suspect, clean, triggered, direction))

    return work


def _shift(analysis: ShiftAnalysis) -> dict[str, np.ndarray]:
    conditions: dict[str, torch.Tensor] = {"clean": analysis.clean.shift, "triggered": analysis.triggered.shift}
    return {name: shift.numpy() for name, shift in conditions.items()}
