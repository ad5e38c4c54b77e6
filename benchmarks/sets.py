"""Jobs of many images, streamed from files: ranking them by shift, and the same at LLaVA-1.5-7B's shapes."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.comparison import SCALED, Comparison, Results, within
from benchmarks.inputs import SET
from benchmarks.report import MEMORY, TIME, Figure, Report, Target
from benchmarks.setting import BASE, SUSPECT, image_set, many
from projlens_core.activations.model import load_vision
from projlens_core.activations.set_shift import set_shift
from projlens_core.activations.tokens import image_tokens
from projlens_core.cases.case import read_projectors
from projlens_core.inputs.images import load
from projlens_core.weights.delta import compare

MEAN_SHARE = 1e-4  # as for every patch: see benchmarks.activations
FEW, SOME = 4, 16  # images of the 7B-shaped job, to see whether memory grows with them
FLAT = 1.05  # what memory may grow by from FEW to SOME: the system's own noise


def ranking(folder: Path) -> Callable[[int], dict[str, np.ndarray]]:
    """Every image's mean |ΔE·v₀| along the drift direction of them all."""
    return _ranked(BASE, SUSPECT, many(folder), at_once=32)


def seven_b(folder: Path) -> Callable[[int], dict[str, np.ndarray]]:
    """The same of SOME images at LLaVA-1.5-7B's shapes, which stand for SET."""
    return _seven_b(folder, SOME)


def seven_b_few(folder: Path) -> Callable[[int], dict[str, np.ndarray]]:
    """The same of FEW."""
    return _seven_b(folder, FEW)


def agree(reference: Results, ours: Results) -> str:
    """The mean shift of the images that the reference took, from its own ΔE (n, T, d) along our direction."""
    means = np.abs(reference["delta_e"] @ ours["direction"]).mean(axis=1, dtype=np.float64)
    return within(f"Mean shifts of {len(means)} images", means, ours["mean"][: len(means)], MEAN_SHARE)


RANKING = Comparison(
    name="ranking",
    title="2,000 images ranked by shift (zoo)",
    prepare="benchmarks.inputs:models_and_many",
    reference="benchmarks.reference:ranking",
    ours="benchmarks.sets:ranking",
    agree=agree,
    targets={TIME: Target(ahead_by=10), MEMORY: Target(at_most=1e9)},
    notes=("The reference is timed on its first images and scaled to all; the shift is along our direction there.",),
)

SEVEN_B = Comparison(
    name="shifts-7b",
    title=f"shift of {SET} images (7B shapes)",
    prepare="benchmarks.inputs:seven_b_model",
    reference="benchmarks.reference:seven_b_shift",
    ours="benchmarks.sets:seven_b",
    agree=agree,
    targets={TIME: Target(ahead_by=10)},
    notes=(
        f"Tower and projectors of the true shapes, random values. Ours is timed on {SOME} images and scaled to "
        f"{SET}; the reference on one image under one model, its 32 layers sharing the weights of one.",
    ),
)


def run_seven_b(folder: Path, quick: bool = False) -> Report:
    """The comparison, and our memory with fewer images, beyond which it must not grow."""
    report = SEVEN_B.run(folder, quick)
    if quick:
        return report
    few = SEVEN_B.alone("benchmarks.sets:seven_b_few", folder).peak
    figures = tuple(
        replace(figure, target=Target(at_most=FLAT * few)) if figure.quantity == MEMORY else figure
        for figure in report.figures
    )
    note = f"Memory is held against that of {FEW} images: it must not grow from {FEW} to {SOME} by more than 5 %."
    return replace(report, figures=(*figures, Figure(f"{MEMORY}, {FEW} images", few)), notes=(*report.notes, note))


def _seven_b(folder: Path, count: int) -> Callable[[int], dict[str, np.ndarray]]:
    images = image_set(folder)[:count]
    work = _ranked(str(folder / "seven-b"), str(folder / "seven-b-suspect.safetensors"), images, at_once=FEW)
    return lambda call: work(call) | {SCALED: np.array(SET / len(images))}


def _ranked(
    base_spec: str, suspect_spec: str, images: list[Path], at_once: int
) -> Callable[[int], dict[str, np.ndarray]]:
    """As `projlens_core shift` does it, each image decoded when its turn comes."""
    base, suspect = read_projectors([base_spec, suspect_spec])
    tower, delta = load_vision(base_spec), compare(base, suspect)

    def chunks() -> Iterator[torch.Tensor]:
        for start in range(0, len(images), at_once):
            yield image_tokens(tower, [load(path).pixels for path in images[start : start + at_once]])

    def work(call: int) -> dict[str, np.ndarray]:
        found = set_shift(delta, [path.name for path in images], {"clean": chunks})
        return {"mean": found.conditions["clean"].ranking.mean, "direction": found.direction.vector.numpy()}

    return work
