"""Result → headline numbers and tables as text, each with its interval and the control beside it. No streamlit."""

import pandas as pd

from projlens_core.evidence.case import OpenedCase
from projlens_core.evidence.exhibit import Metric
from projlens_core.weights.projector import ProjectorWeights

FEW = 5  # directions that a projector backdoor is said to fit into
_SUBSCRIPT = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def symbol(number: int) -> str:
    """The change of the number-th matrix as the paper writes it: ΔW₁."""
    return f"ΔW{str(number).translate(_SUBSCRIPT)}"


def case_headlines(opened: OpenedCase) -> list[Metric]:
    """What the spectra say, beside the control's: concentration of each end of the projector, size of the change."""
    names = list(opened.spectra)
    last, delta = names[-1], symbol(len(names))
    suspect, control = opened.spectra[last], opened.control_spectra.get(last)
    few = min(FEW, len(suspect.values))
    relative = {t.name: t.relative_change for t in opened.delta.tensors}[last]
    by_control = {t.name: t.relative_change for t in opened.control_delta.tensors} if opened.control_delta else {}
    ends = {1: names[0], len(names): last}
    return [
        *(_stable_rank(opened, name, symbol(number)) for number, name in ends.items()),
        Metric(
            f"Top {few} hold of {delta}",
            f"{suspect.energy[few - 1]:.0%}",
            f"{control.energy[few - 1]:.0%}" if control else None,
            help=f"Energy: the share of ‖{delta}‖² that its {few} strongest directions hold together.",
        ),
        Metric(
            f"Relative size of {delta}",
            f"{relative:.1%}",
            f"{by_control[last]:.1%}" if last in by_control else None,
            help=f"‖{delta}‖ / ‖W‖: how far the matrix moved, compared with its own size.",
        ),
    ]


def _stable_rank(opened: OpenedCase, name: str, delta: str) -> Metric:
    suspect, control = opened.spectra[name], opened.control_spectra.get(name)
    return Metric(
        f"Stable rank of {delta}",
        f"{suspect.stable_rank:.1f}",
        f"{control.stable_rank:.1f}" if control else None,
        help=f"‖{delta}‖² / σ₁²: how many directions the change really uses. Small means concentrated.",
    )


def changes(opened: OpenedCase) -> pd.DataFrame:
    """One row a tensor: how far it moved, and the shape of its spectrum."""
    control = {t.name: t.relative_change for t in opened.control_delta.tensors} if opened.control_delta else {}
    rows = []
    for tensor in opened.delta.tensors:
        spectrum, edge = opened.spectra.get(tensor.name), opened.edges.get(tensor.name)
        rows.append(
            {
                "tensor": tensor.name,
                "shape": " × ".join(map(str, tensor.shape)),
                "‖Δ‖": tensor.frobenius,
                "relative change": tensor.relative_change,
                "control's": control.get(tensor.name),
                "cosine": tensor.cosine,
                "stable rank": spectrum.stable_rank if spectrum else None,
                "effective rank": spectrum.effective_rank if spectrum else None,
                "spikes": edge.spikes if edge else None,
            }
        )
    return pd.DataFrame(rows)


def files(opened: OpenedCase) -> pd.DataFrame:
    """One row a projector: what was opened and how much of it was read."""
    roles = {"base": opened.base, "suspect": opened.suspect, "control": opened.control}
    return pd.DataFrame([_file(role, weights) for role, weights in roles.items() if weights is not None])


def _file(role: str, weights: ProjectorWeights) -> dict[str, str]:
    shapes = [tensor.shape for tensor in weights.tensors.values() if tensor.ndim == 2]
    return {
        "role": role,
        "opened": weights.source,
        "family": weights.family.title,
        "projector": " → ".join(str(width) for width in (weights.d_in, *(shape[0] for shape in shapes))),
        "parameters": f"{weights.parameters:,}",
        "dtype": weights.dtype,
        "bytes read": f"{weights.bytes_read:,}",
        "content (SHA-256)": weights.sha256[:16],
    }
