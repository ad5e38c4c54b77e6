import pytest

from projlens_core.analyses.spectrum import exhibit as exhibits
from projlens_core.analyses.spectrum.tables import edge_sentence, labels
from projlens_core.weights.delta import compare
from projlens_core.weights.delta_spectra import decompose_delta
from projlens_core.weights.noise import BulkEdge, NoiseEdge
from projlens_core.weights.projector import read_projector
from tests import pico

NAME = "linear_2.weight"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exhibit")
    base = pico.checkpoint(folder / "base")
    pico.suspect(base, folder / "suspect", strength=(5.0, 2.0))
    pico.suspect(base, folder / "control", strength=(0.5,) * 6, seed=7)
    ours = read_projector(base)
    return {name: decompose_delta(compare(ours, read_projector(folder / name))) for name in ("suspect", "control")}


def test_the_exhibit_shows_each_changed_matrix_and_says_what_did_not_change(found):
    shown = exhibits.spectrum(found, {"seed": 0}, exhibits.overlaps(found, 8))
    assert [chart.name for chart in shown.charts] == [
        "weights-values-2",
        "weights-energy-2",
        "weights-heatmap-2-suspect",
        "weights-heatmap-2-control",
        "weights-heatmap-2-scale",
        "weights-angles-2-left",
        "weights-angles-2-right",
    ]
    assert all(chart.caption.startswith("How to read this: ") for chart in shown.charts)
    assert "suspect: linear_1.weight did not change, so it has no spectrum and no directions." in shown.notes
    assert shown.data["settings"] == {"seed": 0}
    assert {card.label: card.control for card in shown.metrics}["Stable rank of ΔW₂"] == "6.0"  # six equal values


def test_rounding_is_not_held_against_anything(found):
    pair = exhibits.overlaps(found, 8)[NAME]["suspect", "control"]
    assert len(pair.left.angles) == 2  # the suspect has two directions; the control six
    assert found["suspect"].triplets("linear_1.weight", 4) is None


def test_a_heatmap_has_a_cell_for_each_entry_of_a_small_window_on_a_shared_scale(found):
    suspect, control, _ = exhibits.heatmaps(found, NAME, "largest", (0, 4), (10, 15))
    delta = next(t.delta for t in found["suspect"].delta.matrices if t.name == NAME)
    data = next(iter(suspect.chart.to_dict()["datasets"].values()))
    assert len(data) == 20
    assert data[7]["value"] == pytest.approx(abs(delta[1, 12].item()), rel=1e-3)
    assert (data[7]["top"], data[7]["left"]) == (1, 12)
    scales = [chart.chart.to_dict()["encoding"]["color"]["scale"]["domain"] for chart in (suspect, control)]
    assert scales[0] == scales[1]


def test_the_law_is_drawn_only_where_the_bulk_follows_it(found):
    one = found["suspect"]

    def drawn(bulk):
        changed = type(one)(one.delta, one.spectra, one.edges, one.bulk_edges | {NAME: bulk})
        data = exhibits.spectra({"suspect": changed}, NAME)[0].chart.to_dict()["datasets"].values()
        return {row["label"] for rows in data for row in rows if "label" in row}

    assert drawn(BulkEdge(0.1, 3, 0.01, 0.01)) == {"noise edge (shuffled entries)", "Marchenko–Pastur edge"}
    assert drawn(BulkEdge(0.1, 3, 0.01, 0.2)) == drawn(None) == {"noise edge (shuffled entries)"}


@pytest.mark.parametrize(
    ("bulk", "said"),
    [
        (None, "No bulk follows"),
        (BulkEdge(0.1, 3, 0.01, 0.2), "20% off"),
        (BulkEdge(0.1, 3, 0.01, 0.01), "counts because it asks nothing of the entries; 3 above 0.1"),
    ],
)
def test_both_edges_are_told_with_the_one_that_counts(bulk, said):
    assert said in edge_sentence(NoiseEdge(0.5, 2, "shuffled entries", 3, 0), bulk)


def test_names_on_screen_are_told_apart():
    assert labels(["suspect"], ["a", "suspect", "a", "a"]) == ["suspect", "a", "suspect (2)", "a (2)", "a (3)"]
