"""What the command writes of a case: every figure as JSON, a table for people, and the proof about the rest."""

import math
from dataclasses import asdict

from projlens_core.cases.case import OpenedCase
from projlens_core.cases.whose import unread
from projlens_core.runtime.text import printable
from projlens_core.weights.delta import Delta, TensorDelta
from projlens_core.weights.noise import NoiseEdge
from projlens_core.weights.proof import CHANGED, NOT_COMPARED, Proof
from projlens_core.weights.spectrum import Spectrum


def as_dict(opened: OpenedCase) -> dict:
    """The result as scripts read it; a number that does not exist (the cosine of a zero tensor) is null."""
    read = [weights for weights in (opened.base, opened.suspect, opened.control) if weights]
    result = {
        "family": opened.family.name,
        "base": opened.case.base,
        "suspect": opened.case.suspect,
        "control": opened.case.control,
        "bytes_read": sum(weights.bytes_read for weights in read),
        "dtype": {"base": opened.base.dtype, "suspect": opened.suspect.dtype},
        "sha256": {"base": opened.base.sha256, "suspect": opened.suspect.sha256},
        "tensors": _tensors(opened.delta, opened.spectra, opened.edges),
        "settings_changed": [list(change) for change in opened.delta.settings_changed],
        "equal": opened.delta.equal,
        "projector_not_compared": [list(pair) for pair in opened.delta.uncompared],
        "not_compared": [list(pair) for pair in opened.delta.not_compared],
        "parts": unread(opened.case).parts(),
        "also_changed": {role: also for role, weights in opened.projectors.items() if (also := weights.also_changed)},
        "notes": list(opened.notes),
    }
    if opened.control_delta:
        result["control_projector_not_compared"] = [list(pair) for pair in opened.control_delta.uncompared]
        result["control_tensors"] = _tensors(opened.control_delta, opened.control_spectra, opened.control_edges)
    return result


def as_table(opened: OpenedCase) -> str:
    """The result as a person reads it: one row per tensor, then the notes."""
    header = (
        "tensor",
        "shape",
        "‖Δ‖",
        "rounding",
        "‖Δ‖/‖base‖",
        "σ₁",
        "stable rank",
        "effective rank",
        "σ > noise",
        "top-5 energy",
    )
    lines = [f"{opened.family.title}: {opened.suspect.source} against {opened.base.source}", ""]
    parts = [("", opened.delta, opened.spectra, opened.edges)]
    if opened.control_delta:
        parts.append(("control ", opened.control_delta, opened.control_spectra, opened.control_edges))
    rows = [
        _row(prefix, tensor, spectra.get(tensor.name), edges.get(tensor.name))
        for prefix, delta, spectra, edges in parts
        for tensor in delta.tensors
    ]
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, *rows):
        first, *rest = (
            cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join((first, *rest)).rstrip())
    read = sum(weights.bytes_read for weights in (opened.base, opened.suspect, opened.control) if weights)
    lines.append(f"\n{read:,} bytes read of the weight files. rounding: the ‖Δ‖ that storing the values alone leaves.")
    return "\n".join([*lines, "", *(f"- {note}" for note in opened.notes)])


def proof_as_dict(proof: Proof) -> dict:
    """How many are the same, changed and not compared, by what they belong to, and every finding."""
    return {
        "bytes_read": proof.bytes_read,
        "counts": proof.counts,
        "findings": [asdict(finding) for finding in proof.findings],
    }


def proof_as_text(proof: Proof) -> str:
    """One line for each part of the model, then every finding that is not "same"."""
    lines = [f"Outside the projector, {proof.bytes_read:,} bytes read:"]
    lines += [
        f"  {part}: " + ", ".join(f"{count} {status}" for status, count in counts.items() if count)
        for part, counts in proof.counts.items()
    ]
    rest = (*proof.of(CHANGED), *proof.of(NOT_COMPARED))
    return "\n".join([*lines, *(f"- {each.status}: {printable(each.name)} ({each.reason})" for each in rest)])


def _tensors(delta: Delta, spectra: dict[str, Spectrum], edges: dict[str, NoiseEdge]) -> list[dict]:
    return [_tensor(tensor, spectra.get(tensor.name), edges.get(tensor.name)) for tensor in delta.tensors]


def _tensor(tensor: TensorDelta, values: Spectrum | None, edge: NoiseEdge | None) -> dict:
    entry = tensor_data(tensor, values)
    entry |= {"changed": tensor.changed, "rounding": asdict(tensor.rounding) if tensor.rounding else None}
    return entry | ({"noise_edge": edge.edge, "spikes": edge.spikes} if edge is not None else {})


def tensor_data(tensor: TensorDelta, spectrum: Spectrum | None) -> dict:
    """How far a tensor moved and, of a matrix, the spectrum of that; JSON-ready, what does not exist is null."""
    entry = {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "frobenius": tensor.frobenius,
        "relative_change": _finite(tensor.relative_change),
        "cosine": _finite(tensor.cosine),
    }
    if spectrum is not None:
        entry |= {
            "singular_values": spectrum.values.tolist(),
            "energy": spectrum.energy.tolist(),
            "stable_rank": spectrum.stable_rank,
            "effective_rank": spectrum.effective_rank,
        }
    return entry


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _row(prefix: str, tensor: TensorDelta, values: Spectrum | None, edge: NoiseEdge | None) -> tuple[str, ...]:
    shape = "×".join(map(str, tensor.shape))
    change = f"{tensor.relative_change:.2%}" if math.isfinite(tensor.relative_change) else "from zero"
    rounding = tensor.rounding
    floor = f"{'≥ ' if rounding.least else ''}{rounding.frobenius:.2g}" if rounding else "?"
    row = (prefix + tensor.name, shape, f"{tensor.frobenius:.4g}", floor, change)
    if values is None or edge is None:
        return (*row, *("–",) * 5)
    ranks = (f"{values.stable_rank:.1f}", f"{values.effective_rank:.1f}", str(edge.spikes))
    return (*row, f"{values.values[0]:.4g}", *ranks, f"{values.energy[:5][-1]:.1%}")
