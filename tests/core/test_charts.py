"""Charts and images are built from results alone; what they say is checked in their specification."""

import base64
from io import BytesIO

import altair as alt
import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image, ImageColor

from projlens_core.activations.agreement import Agreement, Reach
from projlens_core.activations.embedding_spectrum import band
from projlens_core.activations.ranking import ranking
from projlens_core.analyses.activation import charts as shift
from projlens_core.analyses.response import charts as rates
from projlens_core.analyses.robustness import charts as robustness
from projlens_core.analyses.shift import charts as embedding
from projlens_core.analyses.spectrum import charts as spectrum
from projlens_core.charts import overlays, palette
from projlens_core.charts.form import Filled, Hole, form, named
from projlens_core.report.drawing import specification
from projlens_core.stats.lines import norm_shift
from projlens_core.stats.rate import wilson
from projlens_core.weights.noise import NoiseEdge
from projlens_core.weights.spectrum import Spectrum
from tests import chart_corpus, pico

EDGE = NoiseEdge(0.5, 2, "shuffled entries", 3, 0)


def some_spectrum(values):
    values = np.array(values, dtype=np.float64)
    return Spectrum(values, np.cumsum(values**2) / np.sum(values**2), 1.0, 1.0)


def rows(chart) -> list[dict]:
    """All data rows of a chart, in any layer."""
    return [row for rows in chart.to_dict()["datasets"].values() for row in rows]


def axis_titles(spec) -> set[str]:
    layers = spec.get("layer", [spec])
    found = (layer.get("encoding", {}).get(axis, {}).get("title") for layer in layers for axis in ("x", "y"))
    return {title for title in found if title}


def test_a_spectrum_shows_the_first_values_of_both_projectors_and_the_noise_edge():
    chart = spectrum.spectrum("Singular values of ΔW₁", some_spectrum([3, 2, 1]), some_spectrum([1, 1, 1]), EDGE, top=2)
    data = rows(chart)
    assert [(r["role"], r["rank"], r["value"]) for r in data if "rank" in r] == [
        ("suspect", 1, 3.0),
        ("suspect", 2, 2.0),
        ("control", 1, 1.0),
        ("control", 2, 1.0),
    ]
    assert next(r["edge"] for r in data if "edge" in r) == 0.5
    assert axis_titles(chart.to_dict()) >= {"rank k", "singular value σₖ"}


@pytest.mark.parametrize(("first", "baseline"), [(3, "top"), (9, "bottom")])
def test_the_name_of_a_noise_edge_next_to_zero_stands_above_it_clear_of_the_axis(first, baseline):
    chart = spectrum.spectrum("ΔW₁", some_spectrum([first, 2, 1]), None, EDGE, top=3).to_dict()
    assert next(layer["mark"]["baseline"] for layer in chart["layer"] if layer["mark"]["type"] == "text") == baseline


def test_energy_is_drawn_from_zero_to_all_of_it():
    chart = spectrum.energy("Energy", some_spectrum([2, 1]), None, top=30).to_dict()
    assert chart["encoding"]["y"]["scale"]["domain"] == [0, 1]
    assert [r["share"] for r in next(iter(chart["datasets"].values()))] == pytest.approx([0.8, 1.0])


def test_a_distribution_counts_every_patch_once():
    shifts = {"clean": np.array([0.0, 1.0, 2.0]), "triggered": np.array([1.0, 3.0])}
    both = {"suspect": shifts, "control": {condition: values + 1 for condition, values in shifts.items()}}
    bars = shift.distribution("All", both, {"suspect": {"clean": 1.0}}, "shift").to_dict()["datasets"]["bars"]
    for role, sign in (("suspect", 1), ("control", -1)):
        for condition in shifts:
            own = [bar for bar in bars if (bar["projector"], bar["condition"]) == (role, condition)]
            assert sum(bar["share"] for bar in own) == pytest.approx(1.0)
            assert sum(bar["height"] for bar in own) == pytest.approx(100 * sign)


def test_a_distribution_without_a_control_has_no_lower_half():
    chart = shift.distribution("All", {"suspect": {"clean": np.array([0.0, 1.0])}}, {}, "shift").to_dict()
    assert chart["layer"][0]["encoding"]["y"]["scale"]["domain"] == [0, 50.0]
    assert [name["name"] for name in chart["datasets"]["names"]] == ["Suspect"]


def test_norm_and_shift_carry_both_lines_and_at_most_so_many_dots():
    norms = torch.linspace(1, 10, 3000).reshape(6, 500)
    relation = norm_shift(norms, 2 * norms + 1 + 0.1 * torch.sin(37 * norms))
    chart = shift.norm_shift("Suspect", {"clean": relation}, "output")
    datasets = list(chart.to_dict()["datasets"].values())
    assert sorted(map(len, datasets)) == [4, shift.MAX_POINTS]
    ends = min(datasets, key=len)
    for name, fit in (("least squares", relation.fit), ("robust", relation.robust)):
        low, high = (row for row in ends if row["fitted"] == name)
        assert (high["shift"] - low["shift"]) / (high["norm"] - low["norm"]) == pytest.approx(fit.slope)


def test_outliers_are_drawn_even_where_dots_are_drawn_by_lot():
    norms = torch.linspace(1, 10, 6000).reshape(6, 1000)
    shifts = norms + 0.1 * torch.sin(37 * norms)
    shifts[3, 7] = 100.0
    drawn = rows(shift.norm_shift("Suspect", {"clean": norm_shift(norms, shifts)}, "output"))
    assert any(row["shift"] == 100.0 for row in drawn)


def test_a_relation_that_cannot_be_fitted_has_no_line():
    relation = norm_shift(torch.ones(1, 4), torch.arange(4.0)[None])
    assert len(shift.norm_shift("Suspect", {"clean": relation}, "output").to_dict()["datasets"]) == 1


def test_the_chosen_patch_stands_out_among_the_images_own():
    norms = torch.linspace(1, 10, 12).reshape(2, 6)
    here = {"clean": (np.arange(6.0), np.arange(6.0))}
    chart = shift.norm_shift("Suspect", {"clean": norm_shift(norms, norms)}, "input", here, chosen=4)
    spec = chart.to_dict()
    ring = spec["datasets"][spec["layer"][-1]["data"]["name"]]
    assert [(row["token"], row["shift"]) for row in ring] == [(4, 4.0)]
    assert {p["name"] for p in spec["params"]} == {"dot"}
    assert "norm of the projector's input ‖h‖" in axis_titles(spec)


def test_bands_stay_on_their_axis_and_tell_mean_from_spread():
    curves = {"clean": band(np.array([[0.2, 0.9], [0.6, 1.0], [0.4, 1.0], [0.4, 1.0], [0.4, 1.0]]))}
    data = rows(embedding.bands("Energy", curves, 30, "cumulative energy", (0.0, 1.0), share=True))
    assert [row["mean"] for row in data] == pytest.approx([0.4, 0.98])
    assert all(0 <= row["below"] <= row["low"] <= row["mean"] <= row["high"] <= row["above"] <= 1 for row in data)


def test_agreement_shows_each_projectors_angles_over_those_of_random_directions():
    reach = Reach("ΔW", torch.eye(3, dtype=torch.float64)[:, :2], np.array([1, 2]))
    found = Agreement(reach, {"all": np.array([50.0, 10.0])}, *(np.array([0.5, 0.9]) for _ in range(4)))
    data = rows(embedding.agreement("Drift", {"suspect": found, "control": found}, "all"))
    angles = [(row["role"], row["components"], row["angle"]) for row in data if "role" in row]
    assert angles == [("suspect", 1, 50.0), ("suspect", 2, 10.0), ("control", 1, 50.0), ("control", 2, 10.0)]
    assert {row["label"] for row in data if "median" in row} == {"random direction"}


def test_a_ranking_starts_with_the_image_pushed_farthest():
    found = ranking(["a", "b"], [torch.tensor([[1.0], [-3.0]])])
    data = rows(embedding.ranked("Suspect", {"clean": found}, "mean", 3.0))
    assert [(row["picture"], row["place"], row["shift"]) for row in data] == [("a", 2, 1.0), ("b", 1, 3.0)]


def test_universality_has_a_tick_for_every_image_and_the_mark_of_chance():
    cosines = {"suspect": {"clean": np.array([0.9, 0.1]), "triggered": np.array([1.0, 0.8])}}
    data = rows(embedding.universality("One direction?", cosines, ("a", "b"), 0.2))
    assert [row["cosine"] for row in data if "cosine" in row] == [0.9, 0.1, 1.0, 0.8]
    assert [row["chance"] for row in data if "chance" in row] == [0.2]


def test_rates_keep_their_interval_and_their_colour():
    chart = rates.rates("ASR", {"base": wilson(0, 10), "suspect": wilson(9, 10)}, "triggered images").to_dict()
    data = next(iter(chart["datasets"].values()))
    assert [(r["projector"], r["of"]) for r in data] == [("base", "0 of 10"), ("suspect", "9 of 10")]
    assert data[0]["low"] == 0.0
    assert data[0]["high"] == pytest.approx(0.2775, abs=1e-4)
    colours = chart["layer"][0]["encoding"]["color"]["scale"]
    assert dict(zip(colours["domain"], colours["range"], strict=True))["suspect"] == palette.SUSPECT


def test_charts_that_are_filled_are_what_the_grammar_allows():
    values, shifts = np.arange(6.0).reshape(2, 3), {"clean": np.array([0.0, 1.0]), "triggered": np.array([1.0, 3.0])}
    for chart in (
        overlays.heatmap("Clean", "data:,", values, 5.0, signed=True, measure="shift", chosen=4),
        overlays.legend("shift", 5.0, signed=False),
        overlays.gallery(["a", "b"], ["1", "2"], ["data:,", "data:,"], chosen=None),
        shift.distribution("All", {"suspect": shifts}, {}, "shift"),
        spectrum.spectrum("ΔW₁", some_spectrum([3, 2, 1]), None, EDGE, top=2),
        spectrum.energy("Energy", some_spectrum([2, 1]), None, top=30),
    ):
        alt.Chart.from_dict(chart.to_dict())  # raises SchemaValidationError
        assert chart.unfilled() == {k: v for k, v in chart.to_dict().items() if k != "datasets"}


def test_a_hole_that_nothing_fills_is_an_error_not_a_blank():
    drawn = form(named("rows").mark_point().encode(x=alt.X("x:Q", title=Hole("axis"))))
    with pytest.raises(KeyError, match="axis"):
        Filled(drawn, {"rows": pa.table({"x": [1.0]})}, {}).to_dict()


def test_a_heatmap_has_one_block_a_token_over_the_image():
    values = np.arange(6.0).reshape(2, 3)
    spec = overlays.heatmap("Clean", "data:,", values, 5.0, signed=False, measure="shift").to_dict()
    blocks = spec["datasets"][spec["layer"][1]["data"]["name"]]
    assert [(r["row"], r["column"], r["value"]) for r in blocks][:4] == [
        (1, 1, 0.0),
        (1, 2, 1.0),
        (1, 3, 2.0),
        (2, 1, 3.0),
    ]
    assert spec["layer"][0]["mark"]["type"] == "image"
    assert spec["layer"][1]["encoding"]["color"]["scale"]["domain"] == [0, 5.0]


def test_an_image_is_wiped_from_before_to_after_at_a_line():
    before, after = Image.new("RGB", (10, 4), "black"), Image.new("RGB", (10, 4), "white")
    half = overlays.wiped(before, after, 0.5)
    assert [half.getpixel((x, 2)) for x in (0, 3, 6, 9)] == [(0, 0, 0), (0, 0, 0), (255, 255, 255), (255, 255, 255)]
    assert half.getpixel((5, 0)) == ImageColor.getrgb(palette.CHOSEN)
    assert overlays.wiped(before, after, 0.0).tobytes() == after.tobytes()
    assert overlays.wiped(before, after, 1.0).tobytes() == before.tobytes()


def test_the_patch_that_was_clicked_has_a_frame():
    spec = overlays.heatmap("Clean", "data:,", np.zeros((2, 3)), 1.0, False, "shift", chosen=4).to_dict()
    frame = spec["datasets"][spec["layer"][2]["data"]["name"]]
    assert [(row["row"], row["column"]) for row in frame] == [(2, 2)]
    assert spec["params"][0]["select"]["fields"] == ["token"]


def test_signed_heatmaps_have_zero_in_the_middle_of_an_odd_number_of_colours():
    scale = overlays.colour_scale(2.0, signed=True).to_dict()
    assert scale["domain"] == [-2.0, 2.0]
    assert len(scale["range"]) % 2 == 1


def test_the_gallery_frames_the_image_on_screen_and_no_other():
    spec = overlays.gallery(["a", "b"], ["1", "2"], ["data:,", "data:,"], chosen="2").to_dict()
    assert [r["key"] for r in spec["datasets"][spec["layer"][1]["data"]["name"]]] == ["2"]


def test_an_image_is_sent_no_larger_than_it_is_shown():
    image = pico.images(1, size=(900, 300))[0]
    data = overlays.data_uri(image, 90).removeprefix("data:image/jpeg;base64,")
    assert Image.open(BytesIO(base64.b64decode(data))).size == (90, 30)


def test_what_is_outlined_lies_on_the_image_and_the_blocks_can_be_made_faint():
    values = np.zeros((2, 3))
    spec = overlays.heatmap(
        "T", "data:,", values, 1.0, False, "shift", opacity=0.2, outline=(0.1, 0.2, 0.3, 0.4)
    ).to_dict()
    assert spec["datasets"]["outline"] == [{"left": 0.1, "top": 0.2, "right": 0.3, "bottom": 0.4}]
    assert spec["layer"][1]["mark"]["opacity"] == 0.2
    assert overlays.heatmap("T", "data:,", values, 1.0, False, "shift").to_dict()["datasets"]["outline"] == []


def test_a_key_names_what_is_drawn_and_nothing_else():
    found = 0
    for chart in chart_corpus.charts():
        spec = specification(chart)
        cells = {(name, row.get(name)) for table in spec["datasets"].values() for row in table for name in row}
        for layer in spec.get("layer", [spec]):
            colour = layer.get("encoding", {}).get("color", {})
            for entry in (colour.get("legend") or {}).get("values", ()):
                found += 1
                assert (colour["field"], entry) in cells, spec["title"]
    assert found > 20


def test_without_a_control_no_key_speaks_of_one():
    row = {"change": "size 2×", "role": "suspect", "value": 1.0, "low": 0.5, "high": 1.5, "n": 4}
    spec = robustness.by_change("Gain", [row], "gain", 0.0, None, ".2f").to_dict()
    keys = [layer["encoding"]["color"]["legend"]["values"] for layer in spec["layer"] if "color" in layer["encoding"]]
    assert keys
    assert all(key == ["suspect"] for key in keys)
