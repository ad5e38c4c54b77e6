"""How the change of a projector is built: spectra over their noise, ΔW itself, and what several changes share."""

from collections.abc import Callable

from projlens_core.analyses.case import reading
from projlens_core.analyses.case.exhibit import TOP, energy_card, stable_rank_card
from projlens_core.analyses.exhibit import Chart, Exhibit, Metric
from projlens_core.analyses.spectrum import ANALYSIS, charts, tables
from projlens_core.analyses.spectrum.tables import Overlaps, SpectraByName
from projlens_core.charts import overlays
from projlens_core.weights.blocks import Blocks, blocks
from projlens_core.weights.delta import symbol
from projlens_core.weights.delta_spectra import DeltaSpectra
from projlens_core.weights.noise import BulkEdge, NoiseEdge
from projlens_core.weights.overlap import overlap

CELLS = 64  # a side of a heatmap; more would be slow to draw and finer than two of them side by side show
MEASURES = {"largest": "largest |ΔW|", "rms": "root mean square of ΔW"}


def spectrum(by_name: SpectraByName, settings: dict, overlaps: Overlaps, top: int = TOP) -> Exhibit:
    """Everything about all matrices.

    by_name: {"suspect": …, "control": … if there is one, then further changes of the same base, by name on screen}.
    overlaps: see overlaps(). settings says what decides the numbers, as Exhibit.data keeps it.
    """
    changed = [name for name in by_name["suspect"].spectra if _changed(by_name["suspect"], name)]
    few = {who: one for who, one in by_name.items() if who in ("suspect", "control")}  # images: one sees two at a time
    drawn = []
    for name in changed:
        drawn += [
            *spectra(by_name, name, top),
            *heatmaps(few, name, "rms"),
            *angles(overlaps, by_name, name),
        ]
    return ANALYSIS.exhibit(
        metrics=tuple(card for name in changed[-1:] for card in metrics(by_name, name)),
        charts=tuple(drawn),
        tables=(tables.tensors(by_name), tables.pairs(overlaps)),
        data={"settings": settings} | tables.as_data(by_name, overlaps),
        notes=notes(by_name),
    )


def overlaps(by_name: SpectraByName, k: int, *, exact: bool = False) -> Overlaps:
    """The k leading directions of every two changes, compared for each matrix that both changed.

    Fewer than k where a change has not so many, or where they were more than half of what the matrix has.
    """
    result = {}
    for name in by_name["suspect"].spectra:
        shape = next(tensor.shape for tensor in by_name["suspect"].delta.matrices if tensor.name == name)
        leading = {who: one.triplets(name, min(k, min(shape) // 2), exact=exact) for who, one in by_name.items()}
        there = {who: triplets for who, triplets in leading.items() if triplets is not None}
        names = list(there)
        result[name] = {
            (one, other): overlap(there[one], there[other], min(len(there[one].values), len(there[other].values)))
            for i, one in enumerate(names)
            for other in names[i + 1 :]
        }
    return result


def metrics(by_name: SpectraByName, name: str) -> tuple[Metric, ...]:
    """What one matrix's spectrum says, beside the control's."""
    suspect, control = by_name["suspect"], by_name.get("control")
    both = suspect.spectra[name], control.spectra[name] if control else None
    delta = symbol(list(suspect.spectra).index(name) + 1)

    def card(label: str, tell: str, text: Callable[[DeltaSpectra], str]) -> Metric:
        return Metric(label, text(suspect), text(control) if control else None, help=tell)

    return (
        card(
            f"Spikes of {delta}",
            "Singular values above the noise edge: the largest one that the same entries would have in random order.",
            lambda one: str(one.edges[name].spikes),
        ),
        stable_rank_card(delta, *both),
        card(
            f"Effective rank of {delta}",
            "exp of the entropy of σ/Σσ: as many equal directions would be spread as widely. Weak ones count more.",
            lambda one: f"{one.spectra[name].effective_rank:.0f}",
        ),
        energy_card(delta, *both),
    )


def spectra(by_name: SpectraByName, name: str, top: int = TOP) -> tuple[Chart, ...]:
    """Singular values and cumulative energy of one matrix, all changes on one axis."""
    suspect, scale = by_name["suspect"], charts.colours(list(by_name))
    number = list(suspect.spectra).index(name) + 1
    edges: dict[str, NoiseEdge | BulkEdge] = {"noise edge (shuffled entries)": suspect.edges[name]}
    bulk = suspect.bulk_edges[name]
    if bulk and bulk.fits:
        edges["Marchenko–Pastur edge"] = bulk
    values = {who: one.spectra[name].values for who, one in by_name.items()}
    energy = {who: one.spectra[name].energy for who, one in by_name.items()}
    who = ", ".join(by_name)
    return (
        Chart(
            f"weights-values-{number}",
            charts.values(f"Singular values of {symbol(number)}", values, scale, edges, top),
            reading.spectra(suspect.delta, by_name["control"].delta if "control" in by_name else None),
            f"Singular values of the change of {name}: {who}; with the noise edge of the suspect.",
        ),
        Chart(
            f"weights-energy-{number}",
            charts.shares(f"Energy of {symbol(number)} in its k largest values", energy, scale, top, charts.HEIGHT),
            "How to read this: the share of ‖ΔW‖² in the k strongest directions; a curve above the control's is a more "
            "concentrated change.",
            f"Cumulative energy of the change of {name}: {who}.",
        ),
    )


def heatmaps(
    by_name: SpectraByName,
    name: str,
    measure: str,
    rows: tuple[int, int] | None = None,
    columns: tuple[int, int] | None = None,
) -> tuple[Chart, ...]:
    """A window of one matrix's ΔW under each change, and last the scale they share; measure is "largest" or "rms"."""
    number = list(by_name["suspect"].spectra).index(name) + 1
    seen: dict[str, Blocks] = {}
    for who, one in by_name.items():
        tensor = next(tensor for tensor in one.delta.matrices if tensor.name == name)
        seen[who] = blocks(tensor.delta, rows, columns, CELLS)
    limit = max(float(getattr(each, measure).max()) for each in seen.values()) or 1.0
    drawn = [
        Chart(
            f"weights-heatmap-{number}-{who}",
            charts.heatmap(f"{symbol(number)}, {who}", each, getattr(each, measure), limit, MEASURES[measure]),
            _heatmap_caption(each, measure),
            f"Heatmap of the change of {name}, {who}: {MEASURES[measure]} of each block.",
        )
        for who, each in seen.items()
    ]
    legend = Chart(
        f"weights-heatmap-{number}-scale",
        overlays.legend(MEASURES[measure], limit, signed=False),
        "How to read this: the colours of the heatmaps, which share this scale.",
        "Colour scale of the heatmaps.",
    )
    return (*drawn, legend)


def _heatmap_caption(matrix: Blocks, measure: str) -> str:
    stands = "one entry" if matrix.entries == 1 else f"the {MEASURES[measure]} of up to {matrix.entries:,} entries"
    return (
        f"How to read this: each cell is {stands}. Bright rows or columns are units that the change singles out; "
        f"entries in random order would leave every cell near a root mean square of {matrix.even:.3g}."
    )


def angles(overlaps: Overlaps, by_name: SpectraByName, name: str) -> tuple[Chart, ...]:
    """The suspect's leading directions of one matrix against every other change's, where they write and read."""
    with_suspect = {other: pair for (one, other), pair in overlaps.get(name, {}).items() if one == "suspect"}
    if not with_suspect:
        return ()
    most = max(len(pair.left.angles) for pair in with_suspect.values())
    with_suspect = {other: pair for other, pair in with_suspect.items() if len(pair.left.angles) == most}
    number, scale = list(by_name["suspect"].spectra).index(name) + 1, charts.colours(list(by_name))
    return tuple(
        Chart(
            f"weights-angles-{number}-{side}",
            charts.angles(
                f"{symbol(number)}: shared directions where it {verb}",
                {other: getattr(pair, side) for other, pair in with_suspect.items()},
                scale,
            ),
            f"How to read this: angles between the {most} leading {side} singular directions of the suspect and of "
            "each other change; 0° is the same direction, and 97.5 % of random subspaces lie in the grey band. What "
            "the control shares too comes from training on this base, not from a backdoor.",
            f"Principal angles of the change of {name}, {side} singular directions, suspect with "
            f"{', '.join(with_suspect)}.",
        )
        for side, verb in (("left", "writes"), ("right", "reads"))
    )


def notes(by_name: SpectraByName) -> tuple[str, ...]:
    """What a reader has to bear in mind: which edge counts and why, what did not change, what has no control."""
    suspect = by_name["suspect"]
    said = []
    for number, (name, edge) in enumerate(suspect.edges.items(), 1):
        if _changed(suspect, name):
            said.append(f"{symbol(number)} ({name}): {tables.edge_sentence(edge, suspect.bulk_edges[name])}")
    for who, one in by_name.items():
        same = [name for name in one.spectra if not _changed(one, name)]
        if same:
            said.append(f"{who}: {', '.join(same)} did not change, so it has no spectrum and no directions.")
    if "control" not in by_name:
        said.append("No control: an honest fine-tune changes weights in few directions too.")
    return tuple(said)


def _changed(one: DeltaSpectra, name: str) -> bool:
    return bool(one.spectra[name].values[0] > 0)
