"""Job behind injection and its sliders: the leading singular triplets of the largest ΔW."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.comparison import Comparison, Repeats, Results, within
from benchmarks.inputs import DELTA, SPIKES
from benchmarks.report import TIME, Target
from projlens_core.weights.triplets import leading

TRIPLETS = 32
SPIKE_SHARE, BULK_SHARE = 1e-5, 0.02  # of σ₁; in a flat bulk the last of the 32 is one of many that are near to it


def ours(folder: Path) -> Callable[[int], dict[str, np.ndarray]]:
    """σ and both vectors of the leading components of a 4096 × 4096 ΔW that is at hand."""
    delta = torch.from_numpy(np.load(folder / DELTA))

    def work(call: int) -> dict[str, np.ndarray]:
        found = leading(delta, TRIPLETS)
        return {"u": found.u.numpy(), "values": found.values.numpy(), "v": found.v.numpy()}

    return work


def agree(reference: Results, ours: Results) -> str:
    """The spikes to five digits, the rest of the 32 values, and the directions of the spikes."""
    spikes = len(SPIKES)
    said = [
        within("Values of the spikes", reference["values"][:spikes], ours["values"][:spikes], SPIKE_SHARE),
        within("All values", reference["values"], ours["values"], BULK_SHARE),
    ]
    for side in ("u", "v"):
        cosines = np.abs((reference[side][:, :spikes] * ours[side][:, :spikes]).sum(axis=0))
        said.append(within(f"Cosines of the spikes' {side}", np.ones(spikes), cosines, SPIKE_SHARE))
    return "; ".join(said)


COMPARISON = Comparison(
    name="triplets",
    title=f"{TRIPLETS} leading triplets of ΔW₂ (7B shapes)",
    prepare="benchmarks.inputs:delta",
    reference="benchmarks.reference:triplets",
    ours="benchmarks.triplets:ours",
    agree=agree,
    warm=True,
    ours_repeats=Repeats(calls=5),
    targets={TIME: Target(at_most=0.5, ahead_by=20)},
    notes=("ΔW is in memory on both sides; the error of each triplet is measured by its residual.",),
)
