"""Stage weights: what `projlens case` says of a suspect, its numbers shortened to those that are screened by."""

import base64
import math

import numpy as np
import torch

from projlens_core.analyses.case.written import as_dict
from projlens_core.cases.case import Case, OpenedCase, open_case
from projlens_core.screen.work import Job, Measured
from projlens_core.weights.stored import ADAPTED

FEW = 5  # directions that a projector backdoor is said to fit into
KEPT = 30  # singular values of each matrix, as in the paper's figures
SKETCH = 256  # numbers that are kept of a direction; one of more dimensions is projected on as many random ones
_SHORTENED = ("singular_values", "energy")
_KEPT = (
    "family", "dtype", "settings_changed", "equal", "projector_not_compared", "not_compared", "also_changed", "notes",
)  # fmt: skip


def measure(job: Job) -> Measured:
    """The figures of one suspect; errors as cases.open_case."""
    opened = open_case(Case(job.base, job.suspect), read=job.read).decompose()
    document = as_dict(opened)
    tensors = [
        {name: values[:KEPT] if name in _SHORTENED else values for name, values in tensor.items()}
        for tensor in document["tensors"]
    ]
    result = {name: document[name] for name in _KEPT} | {
        "sha256": opened.suspect.sha256,
        "form": form(opened),
        "bytes_read": opened.suspect.bytes_read,
        "tensors": tensors,
        "direction": direction(opened),
    }
    return Measured(
        scores(tensors) | {"form": form(opened), "changed": "yes" if opened.delta.changed else "no"}, result
    )


def form(opened: OpenedCase) -> str:
    """How the change came: an adapter's rank is chosen by who trained it, so the two are not compared by it."""
    return "adapter" if ADAPTED in opened.suspect.dtype else "whole"


def scores(tensors: list[dict]) -> dict[str, float | None]:
    """The extremes over the matrices that changed; None for each if none did."""
    changed = [tensor for tensor in tensors if "singular_values" in tensor and tensor["changed"]]
    relative = [tensor["relative_change"] for tensor in changed if tensor["relative_change"] is not None]
    return {
        "relative_change": max(relative, default=None),
        "energy_top5": max((tensor["energy"][:FEW][-1] for tensor in changed), default=None),
        "stable_rank": min((tensor["stable_rank"] for tensor in changed), default=None),
        "effective_rank": min((tensor["effective_rank"] for tensor in changed), default=None),
        "spikes": max((tensor["spikes"] for tensor in changed), default=None),
        "sigma_1": max((tensor["singular_values"][0] for tensor in changed), default=None),
    }


def direction(opened: OpenedCase) -> dict | None:
    """The strongest direction in which the last matrix that changed writes: {"tensor", "sketch"}, of unit length.

    sketch: up to SKETCH numbers, float32, base64. |cos| of two sketches of the same tensor is that of the directions,
    to some 1/√SKETCH where they have more dimensions.
    """
    delta_spectra = opened.delta_spectra["suspect"]
    changed = [tensor.name for tensor in opened.delta.matrices if tensor.changed]
    found = delta_spectra.triplets(changed[-1], 1) if changed else None
    if found is None:
        return None
    vector = found.u[:, 0].double()
    if len(vector) > SKETCH:
        generator = torch.Generator().manual_seed(len(vector))
        vector = torch.randn(SKETCH, len(vector), generator=generator, dtype=torch.float64) @ vector
    unit = (vector / math.sqrt(float(vector @ vector))).float()
    return {"tensor": changed[-1], "sketch": base64.b64encode(unit.numpy().tobytes()).decode()}


def sketch(text: str) -> np.ndarray:
    """The numbers of a direction's sketch."""
    return np.frombuffer(base64.b64decode(text), dtype=np.float32)
