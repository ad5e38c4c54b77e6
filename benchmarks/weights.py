"""Job of the Case page: what was changed in the projector of a 7B model. No model is run."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.comparison import COUNTED, Comparison, Repeats, Results, within
from benchmarks.report import FLOOR, MEMORY, READ, TIME, Figure, NoFigures, Report, Target, shown_bytes
from projlens_core.cases.case import Case, open_case
from projlens_core.weights.spectrum import spectrum

PARAMETERS_7B = 7_063_427_072  # of llava-1.5-7b-hf: language model, vision tower, projector
STORED, LOADED = 2, 4  # bytes a parameter takes in the float16 files, and in the float32 that the reference loads
VALUES_SHARE, EDGE_SHARE = 1e-5, 0.05
SCALED = f"{MEMORY}, 7 B parameters"
SCALED_TARGET = Target(ahead_by=20)


def ours(folder: Path) -> Callable[[int], dict[str, np.ndarray]]:
    """ΔW of both matrices with singular values, noise edge and spikes."""
    case = Case(str(folder / "seven-b-base"), str(folder / "seven-b-suspect"))

    def work(call: int) -> dict[str, np.ndarray]:
        opened = open_case(case).decompose()
        found = {COUNTED: np.array(opened.base.bytes_read + opened.suspect.bytes_read)}
        for name in ("linear_1", "linear_2"):
            edge = opened.edges[f"{name}.weight"]
            found[f"{name}.values"] = opened.spectra[f"{name}.weight"].values
            found |= {f"{name}.edge": np.array(edge.edge), f"{name}.spikes": np.array(edge.spikes)}
        return found

    return work


def floor(folder: Path) -> Callable[[int], dict[str, np.ndarray]]:
    """All singular values of one matrix of ΔW₂'s shape, and nothing else."""

    def work(call: int) -> dict[str, np.ndarray]:
        return {"values": spectrum(torch.randn(4096, 4096)).values}

    return work


def agree(reference: Results, ours: Results) -> str:
    """Singular values in all digits that float32 has, the same spikes, and noise edges as close as two shuffles are."""
    said = []
    for name in ("linear_1", "linear_2"):
        said.append(within(f"Singular values of {name}", *_both(f"{name}.values", reference, ours), VALUES_SHARE))
        within(f"Noise edges of {name}", *_both(f"{name}.edge", reference, ours), EDGE_SHARE)
        spikes = [int(found) for found in _both(f"{name}.spikes", reference, ours)]
        if spikes[0] != spikes[1]:
            raise NoFigures(f"The reference finds {spikes[0]} spikes in {name}, ours {spikes[1]}.")
    return f"{'; '.join(said)}; the same spikes; noise edges within {EDGE_SHARE:.0%} (each shuffles for itself)."


COMPARISON = Comparison(
    name="weights",
    title="ΔW, exact spectra, noise edge (7B shapes)",
    prepare="benchmarks.inputs:seven_b_pair",
    reference="benchmarks.reference:weights",
    ours="benchmarks.weights:ours",
    agree=agree,
    ours_repeats=Repeats(processes=3),
    targets={TIME: Target(at_most=5, ahead_by=10), MEMORY: Target(at_most=600e6)},
    notes=("Time is that of the whole process, imports included; the files are in the system's page cache.",),
)


def run(folder: Path, quick: bool = False) -> Report:
    """The comparison, the floor below which no such job gets, and what the reference would take for whole models."""
    report = COMPARISON.run(folder, quick)
    if quick:
        return report
    memory, read = (next(f for f in report.figures if f.quantity == name) for name in (MEMORY, READ))
    missing = 2 * PARAMETERS_7B * LOADED - read.reference / STORED * LOADED
    scaled = Figure(SCALED, memory.ours, memory.reference + missing, SCALED_TARGET)
    note = (
        f"“{SCALED}” is scaled, not measured: of tower and language model the checkpoints hold one thin layer each, "
        f"and two whole LLaVA-1.5-7B in float32 would take the reference {shown_bytes(missing)} more; "
        "ours reads the projector alone, whatever lies around it. Time is not scaled."
    )
    least = COMPARISON.alone("benchmarks.weights:floor", folder)
    floors = Figure(f"{TIME}, {FLOOR}", least.seconds[0]), Figure(f"{MEMORY}, {FLOOR}", least.peak)
    reported = (
        f"“{FLOOR}”: a process that imports torch and takes the singular values of one 4096 × 4096 matrix, no more."
    )
    return replace(report, figures=(*report.figures, scaled, *floors), notes=(*report.notes, note, reported))


def _both(name: str, reference: Results, ours: Results) -> tuple[np.ndarray, np.ndarray]:
    return reference[name], ours[name]
