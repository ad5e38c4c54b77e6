"""What was opened, and what was changed in it: the first page of a case, from weights alone."""

from dataclasses import asdict

import pandas as pd

from projlens_core.analyses.case import ANALYSIS, reading
from projlens_core.analyses.exhibit import Chart, Exhibit, Metric, Table
from projlens_core.analyses.spectrum import charts as spectra
from projlens_core.cases.case import OpenedCase
from projlens_core.weights.delta import TensorDelta, symbol
from projlens_core.weights.noise import NoiseEdge
from projlens_core.weights.projector import ProjectorWeights
from projlens_core.weights.spectrum import Spectrum

MATRICES = 4  # drawn at once
TOP = 30  # singular values shown, as in the paper's figures
FEW = 5  # directions that a projector backdoor is said to fit into


def case(opened: OpenedCase) -> Exhibit:
    """The whole page as an exhibit."""
    return ANALYSIS.exhibit(
        metrics=metrics(opened),
        charts=charts(opened) if opened.delta.changed else (),
        tables=(changes(opened), files(opened), *((not_compared(opened),) if opened.delta.not_compared else ())),
        data=data(opened),
        notes=opened.notes,
    )


def matrices(opened: OpenedCase) -> dict[str, int]:
    """Those that are drawn, in running order, and the number of each among all: all of them, or, of more than MATRICES,
    those that the suspect changed most for their size. A resampler has a hundred."""
    numbers = {name: number for number, name in enumerate(opened.spectra, 1)}
    if len(numbers) <= MATRICES:
        return numbers
    changed = sorted((t for t in opened.delta.matrices if t.changed), key=lambda t: t.relative_change, reverse=True)
    most = {tensor.name for tensor in changed[:MATRICES]}
    return {name: number for name, number in numbers.items() if name in most}


def metrics(opened: OpenedCase) -> tuple[Metric, ...]:
    """What the spectra say, beside the control's: concentration of the first and last matrix that are drawn, and how
    far the last one moved."""
    drawn = matrices(opened)
    if not drawn:
        return ()
    names = list(drawn)
    last, delta = names[-1], symbol(drawn[names[-1]])
    relative = {t.name: t.relative_change for t in opened.delta.tensors}[last]
    by_control = {t.name: t.relative_change for t in opened.control_delta.tensors} if opened.control_delta else {}
    return (
        *(stable_rank_card(symbol(drawn[name]), *_both(opened, name)) for name in dict.fromkeys((names[0], last))),
        energy_card(delta, *_both(opened, last)),
        Metric(
            f"Relative size of {delta}",
            f"{relative:.1%}",
            f"{by_control[last]:.1%}" if last in by_control else None,
            help=f"‖{delta}‖ / ‖W‖: how far the matrix moved, compared with its own size.",
        ),
    )


def stable_rank_card(delta: str, suspect: Spectrum, control: Spectrum | None, bound: str | None = None) -> Metric:
    """Of the change called `delta`; bound: why it is no evidence, where it is none."""
    return Metric(
        f"Stable rank of {delta}",
        f"{suspect.stable_rank:.1f}",
        f"{control.stable_rank:.1f}" if control else None,
        bound,
        f"‖{delta}‖² / σ₁²: how many directions the change really uses. Small means concentrated.",
    )


def energy_card(delta: str, suspect: Spectrum, control: Spectrum | None, bound: str | None = None) -> Metric:
    """The same of what its few strongest directions hold."""
    few = min(FEW, len(suspect.values))
    return Metric(
        f"Energy in the top {few} of {delta}",
        f"{suspect.energy[few - 1]:.0%}",
        f"{control.energy[few - 1]:.0%}" if control else None,
        bound,
        f"Energy: the share of ‖{delta}‖² that its {few} strongest directions hold together.",
    )


def _both(opened: OpenedCase, name: str) -> tuple[Spectrum, Spectrum | None, str | None]:
    """Suspect's and control's spectrum of a matrix, and why concentration in it is no evidence, where it is none."""
    rank = reading.moot(opened.delta, opened.control_delta, name)
    bound = None if rank is None else f"rank ≤ {rank} by construction: no evidence"
    return opened.spectra[name], opened.control_spectra.get(name), bound


def charts(opened: OpenedCase) -> tuple[Chart, ...]:
    """Singular values and energy of the `matrices`, in their order: values, energy, values, energy, …"""
    drawn, caption = [], reading.spectra(opened.delta, opened.control_delta)
    for name, number in matrices(opened).items():
        suspect, control, delta = opened.spectra[name], opened.control_spectra.get(name), symbol(number)
        values = spectra.spectrum(f"Singular values of {delta}", suspect, control, opened.edges[name], TOP)
        energy = spectra.energy(f"Energy of {delta} in its k largest values", suspect, control, TOP)
        drawn += [
            Chart(
                f"spectrum-{number}",
                values,
                caption,
                f"Singular values of the change of {name}, suspect and control, with the noise edge.",
            ),
            Chart(
                f"energy-{number}",
                energy,
                caption,
                f"Cumulative energy of the change of {name}, suspect and control.",
            ),
        ]
    return tuple(drawn)


def changes(opened: OpenedCase) -> Table:
    """One row per tensor: how far it moved, and the shape of its spectrum."""
    tensors = opened.delta.tensors
    frame = pd.DataFrame([tensor_row(t, opened.spectra.get(t.name), opened.edges.get(t.name)) for t in tensors])
    control = {t.name: t.relative_change for t in opened.control_delta.tensors} if opened.control_delta else {}
    of_control = [control.get(t.name) for t in tensors]
    frame.insert(frame.columns.get_loc("relative change") + 1, "control's", of_control)
    return Table(
        "what-changed",
        frame,
        reading.changes(opened.delta, opened.control_delta),
        TENSOR_HELP | {"control's": "‖Δ‖ / ‖base‖ of the control"},
    )


TENSOR_HELP = {
    "‖Δ‖": "Frobenius norm of the projector minus base",
    "rounding": "the ‖Δ‖ that storing the values in their types leaves by itself; empty where it is not known",
    "relative change": "‖Δ‖ / ‖base‖",
    "cosine": "between base's tensor and this one as vectors",
    "stable rank": "‖Δ‖² / σ₁²",
    "effective rank": "exp of the entropy of σ/Σσ (Roy & Vetterli)",
    "spikes": "singular values above the noise edge",
}


def tensor_row(tensor: TensorDelta, spectrum: Spectrum | None, edge: NoiseEdge | None) -> dict:
    """What TENSOR_HELP explains, of one tensor; a tensor that is no matrix has no spectrum."""
    return {
        "tensor": tensor.name,
        "shape": " × ".join(map(str, tensor.shape)),
        "‖Δ‖": tensor.frobenius,
        "rounding": tensor.rounding.frobenius if tensor.rounding else None,
        "relative change": tensor.relative_change,
        "cosine": tensor.cosine,
        "stable rank": spectrum.stable_rank if spectrum else None,
        "effective rank": spectrum.effective_rank if spectrum else None,
        "spikes": edge.spikes if edge else None,
    }


def files(opened: OpenedCase) -> Table:
    """One row per projector: what was opened and how much of it was read."""
    return Table(
        "what-was-opened",
        pd.DataFrame([_file(role, weights) for role, weights in opened.projectors.items()]),
        "Only the projector's tensors are read; nothing in a checkpoint is executed.",
    )


def not_compared(opened: OpenedCase) -> Table:
    """One row per tensor or setting that was not compared, and why."""
    return Table(
        "not-compared",
        pd.DataFrame(opened.delta.not_compared, columns=["what", "why"]),
        "How to read this: what is named here may hide a change; everything else of the projector was compared.",
    )


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


def data(opened: OpenedCase) -> dict:
    """Every figure of the page, JSON-ready."""
    spectra = {"suspect": (opened.spectra, opened.edges), "control": (opened.control_spectra, opened.control_edges)}
    return {
        "settings": {
            **opened.case.to_params(),
            "sha256": {role: weights.sha256 for role, weights in opened.projectors.items()},
        },
        "family": opened.family.name,
        "changed": opened.delta.changed,
        "equal": opened.delta.equal,
        "projector_not_compared": [list(pair) for pair in opened.delta.uncompared],
        "rounding": {t.name: asdict(t.rounding) if t.rounding else None for t in opened.delta.tensors},
        "not_compared": [list(pair) for pair in opened.delta.not_compared],
        "moot": {
            name: rank
            for name in opened.spectra
            if (rank := reading.moot(opened.delta, opened.control_delta, name)) is not None
        },
        "settings_changed": [list(change) for change in opened.delta.settings_changed],
        "matrices": {
            role: {
                name: {
                    "stable_rank": found.stable_rank,
                    "effective_rank": found.effective_rank,
                    "noise_edge": edges[name].edge,
                    "spikes": edges[name].spikes,
                    "singular_values": found.values[:TOP].tolist(),
                    "energy": found.energy[:TOP].tolist(),
                }
                for name, found in by_name.items()
            }
            for role, (by_name, edges) in spectra.items()
            if by_name
        },
    }
