import pytest

from dashboard import resources
from projlens_core.sources import zoo_catalogue
from tests import pico
from tests.dashboard.conftest import texts, titles


def test_without_a_case_the_page_says_where_to_choose_one(open_page):
    app = open_page("weights", {})
    assert not app.exception
    assert any("No case yet" in element.value for element in app.markdown)


def test_spectra_of_the_changed_matrix_stand_beside_the_controls(open_page):
    app = open_page("weights")
    assert not app.exception
    assert titles(app) == ["Singular values of ΔW₂", "Energy of ΔW₂ in its k largest values"]
    spikes, stable, _, top = app.metric
    assert (spikes.label, spikes.value) == ("Spikes of ΔW₂", "2")
    assert (stable.value, stable.delta) == ("1.1", "control 12.0")  # (6² + 2²) / 6², and twelve equal values
    assert (top.value, top.delta) == ("100%", "control 42%")
    table = app.dataframe[0].value
    assert list(table["projector"][:2]) == ["suspect", "control"]
    assert len(table) == 8
    changed = table[table["tensor"] == "linear_2.weight"].set_index("projector")
    assert changed["σ₁"].round(3).to_dict() == {"suspect": 6.0, "control": 0.5}


def test_a_projector_given_by_path_is_set_beside_the_case(open_page, models, tmp_path):
    pico.suspect(models.base, tmp_path / "third", strength=(3.0,), seed=9)
    app = open_page("weights")
    app.text_input(key="beside by path").set_value(str(tmp_path / "third")).run()
    assert not app.exception
    assert set(app.dataframe[0].value["projector"]) == {"suspect", "control", "third"}


def test_a_path_that_names_nothing_is_one_sentence_and_the_case_stays(open_page):
    app = open_page("weights")
    app.text_input(key="beside by path").set_value("/no/such/model").run()
    assert not app.exception
    assert "'/no/such/model' does not exist" in texts(app)
    assert titles(app)


def test_the_heatmap_shows_suspect_and_control_and_a_window_of_them(open_page):
    app = open_page("weights")
    app.segmented_control(key="weights_view").set_value("heatmap").run()
    assert not app.exception
    assert titles(app) == ["ΔW₂, suspect", "ΔW₂, control"]
    app.slider(key="Rows of 48").set_value((10, 20)).run()
    assert not app.exception
    assert titles(app)
    app.slider(key="Rows of 48").set_value((10, 10)).run()
    assert not app.exception
    assert any("An empty window" in element.value for element in app.markdown)


def test_shared_directions_are_drawn_and_listed_beside_chance(open_page):
    app = open_page("weights")
    app.segmented_control(key="weights_view").set_value("overlap").run()
    assert not app.exception
    assert titles(app) == ["ΔW₂: shared directions where it writes", "ΔW₂: shared directions where it reads"]
    pairs = app.dataframe[0].value
    assert list(pairs["projectors"]) == ["suspect, control"] * 2
    assert list(pairs["directions"]) == [2, 2]  # as many as the suspect has
    assert pairs["shared by chance"].tolist() == pytest.approx([2 / 48] * 2)


def test_without_a_control_there_is_nothing_to_share_directions_with(open_page, models):
    app = open_page("weights", {"base": str(models.base), "suspect": str(models.suspect)})
    assert {metric.delta for metric in app.metric} == {"no control"}
    app.segmented_control(key="weights_view").set_value("overlap").run()
    assert not app.exception
    assert any("Nothing to compare with" in element.value for element in app.markdown)


def test_an_unchanged_projector_is_said_to_be_so(open_page, models):
    app = open_page("weights", {"base": str(models.base), "suspect": str(models.base)})
    assert not app.exception
    assert any("No matrix changed" in element.value for element in app.markdown)


def test_further_projectors_of_the_zoo_are_offered_without_those_on_screen(open_page, monkeypatch):
    monkeypatch.setattr(resources, "zoo", zoo_catalogue)
    case = {"base": "zoo:base", "suspect": "zoo:targeted-refusal", "control": "zoo:clean-1"}
    app = open_page("weights", case)
    assert not app.exception
    assert "Clean fine-tune 1" not in app.multiselect[0].options
    app.multiselect[0].set_value(["zoo:malicious-injection"]).run()
    assert not app.exception
    assert "Malicious injection" in set(app.dataframe[0].value["projector"])
