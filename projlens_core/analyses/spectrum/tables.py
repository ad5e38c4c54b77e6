"""The numbers behind the spectrum: tables for people, data for scripts."""

from collections.abc import Mapping, Sequence

import pandas as pd

from projlens_core.analyses.case.exhibit import FEW, TENSOR_HELP, tensor_row
from projlens_core.analyses.case.written import tensor_data
from projlens_core.analyses.exhibit import Table
from projlens_core.weights.delta_spectra import DeltaSpectra
from projlens_core.weights.noise import BulkEdge, NoiseEdge
from projlens_core.weights.overlap import Overlap, SidedOverlap

# By name on screen: "suspect" first, then "control" if there is one, then others.
SpectraByName = Mapping[str, DeltaSpectra]
Overlaps = Mapping[str, Mapping[tuple[str, str], SidedOverlap]]  # by matrix, by the two changes


def tensors(by_name: SpectraByName) -> Table:
    """One row for each tensor of each change."""
    names = dict.fromkeys(tensor.name for one in by_name.values() for tensor in one.delta.tensors)
    rows = []
    for name in names:
        for who, one in by_name.items():
            tensor = next((tensor for tensor in one.delta.tensors if tensor.name == name), None)
            if tensor is None:  # one beside the projector that this model has not; its delta says so
                continue
            spectrum, edge = one.spectra.get(name), one.edges.get(name)
            bulk = one.bulk_edges.get(name)
            rows.append(
                {"projector": who}
                | tensor_row(tensor, spectrum, edge)
                | {
                    "σ₁": float(spectrum.values[0]) if spectrum else None,
                    "noise edge": edge.edge if edge else None,
                    "MP edge": bulk.edge if bulk and bulk.fits else None,
                    "spikes (MP)": bulk.spikes if bulk and bulk.fits else None,
                    f"top {FEW} hold": float(spectrum.energy[:FEW][-1]) if spectrum else None,
                }
            )
    return Table(
        "weights",
        pd.DataFrame(rows),
        "How to read this: one row for each tensor of each projector; compare a suspect's with the control's below it.",
        TENSOR_HELP
        | {
            "noise edge": "largest singular value of the same entries in random order",
            "MP edge": "upper end of the Marchenko–Pastur law fitted to the bulk; empty where no bulk follows it",
            "spikes (MP)": "singular values above the MP edge",
            f"top {FEW} hold": f"share of ‖Δ‖² in the {FEW} strongest directions",
        },
    )


def pairs(overlaps: Overlaps) -> Table:
    """One row for each matrix, two changes and side."""
    rows = [
        {
            "tensor": name,
            "projectors": f"{one}, {other}",
            "side": side,
            "directions": len(found.angles),
            "shared": found.shared,
            "shared by chance": found.chance_shared,
            "smallest angle °": float(found.angles[0]),
            "by chance °": float(found.chance_median[0]),
            "closer than chance": found.closer_than_chance,
        }
        for name, by_pair in overlaps.items()
        for (one, other), pair in by_pair.items()
        for side, found in (("left (writes)", pair.left), ("right (reads)", pair.right))
    ]
    columns = ["tensor", "projectors", "side", "directions", "shared", "shared by chance", "smallest angle °"]
    return Table(
        "subspaces",
        pd.DataFrame(rows, columns=[*columns, "by chance °", "closer than chance"]),
        "How to read this: one row for each two projectors and side; shared is 1 where both use the same directions.",
        {
            "shared": "mean squared cosine of the principal angles",
            "shared by chance": "the same of random subspaces, k/d",
            "by chance °": "median smallest angle of random subspaces",
            "closer than chance": "angles smaller than those of all but 2.5 % of random subspaces",
        },
    )


def edge_sentence(edge: NoiseEdge, bulk: BulkEdge | None) -> str:
    """Both edges with their spikes, which one counts, and why."""
    said = f"{edge.spikes} spikes above {edge.edge:.3g}, the noise edge of its own entries in random order"
    if edge.method.endswith("not lowered"):
        said += " (not lowered by what the spikes hold: more than half of the values would be spikes)"
    if bulk is None:
        return (
            f"{said}. No bulk follows the Marchenko–Pastur law, as where training has reached all directions, so its "
            "edge is not drawn."
        )
    if not bulk.fits:
        return f"{said}. The bulk is {bulk.misfit:.0%} off the Marchenko–Pastur law, so its edge is not drawn."
    return (
        f"{said}, which counts because it asks nothing of the entries; {bulk.spikes} above {bulk.edge:.3g}, the "
        f"Marchenko–Pastur edge fitted to the bulk ({bulk.misfit:.1%} off the law)."
    )


def as_data(by_name: SpectraByName, overlaps: Overlaps) -> dict:
    """Every figure, JSON-ready; a number that does not exist is null."""
    return {
        "projectors": {who: _projector(one) for who, one in by_name.items()},
        "overlaps": [
            {"tensor": name, "projectors": list(who), "left": _overlap(pair.left), "right": _overlap(pair.right)}
            for name, by_pair in overlaps.items()
            for who, pair in by_pair.items()
        ],
    }


def _projector(one: DeltaSpectra) -> list[dict]:
    entries = []
    for tensor in one.delta.tensors:
        entry = tensor_data(tensor, one.spectra.get(tensor.name))
        if tensor.name in one.spectra:
            edge, bulk = one.edges[tensor.name], one.bulk_edges[tensor.name]
            entry |= {
                "noise_edge": {"edge": edge.edge, "spikes": edge.spikes, "method": edge.method, "seed": edge.seed},
                "marchenko_pastur": bulk
                and {"edge": bulk.edge, "spikes": bulk.spikes, "misfit": bulk.misfit, "fits": bulk.fits},
            }
        entries.append(entry)
    return entries


def _overlap(overlap: Overlap) -> dict:
    return {
        "angles": overlap.angles.tolist(),
        "shared": overlap.shared,
        "chance_shared": overlap.chance_shared,
        "chance_median": overlap.chance_median.tolist(),
        "chance_low": overlap.chance_low.tolist(),
        "closer_than_chance": overlap.closer_than_chance,
    }


def labels(roles: Sequence[str], further: Sequence[str]) -> list[str]:
    """The names on screen: the roles, then the further ones' own, told apart by a number where two are the same."""
    names = list(roles)
    for name in further:
        alike = sum(known == name or known.startswith(f"{name} (") for known in names)
        names.append(f"{name} ({alike + 1})" if name in names else name)
    return names
