import pytest

from dashboard import resources
from projlens_core.analyses.neurons.exhibit import COLUMNS
from projlens_core.stats.split_null import MIN_IMAGES
from tests import pico
from tests.dashboard.conftest import titles

HIDDEN = pico.D_TEXT  # units of the pico projector


@pytest.fixture
def many_samples(samples):
    """As many samples as a test of chance needs."""
    for number, image in enumerate(pico.images(MIN_IMAGES, seed=50)):
        image.save(samples / f"more-{number}.png")


@pytest.fixture
def neurons(many_samples, open_page):
    return open_page("neurons")


def test_every_unit_is_drawn_for_suspect_and_control(neurons):
    assert not neurons.exception
    assert titles(neurons)[:2] == ["Suspect: every hidden unit", "Control: every hidden unit"]
    assert neurons.metric[0].label == "Switched on by the trigger"
    assert all(metric.delta.startswith("control ") for metric in neurons.metric)


def test_the_question_is_answered_in_words(neurons):
    # The planted change is behind the hidden layer, so that suspect, control and base have the same units.
    said = " ".join(element.value for element in neurons.markdown).replace("\\", "")  # escaped for Markdown
    assert "of 10 quiet units in the suspect" in said
    assert "0 in the suspect, 0 in the control" in said


@pytest.mark.parametrize(
    ("by", "title"),
    [
        ("difference", "Largest difference"),
        ("ratio", "Largest ratio"),
        ("quiescent-active", "Quiet on clean, active on triggered"),
        ("change", "Largest trigger-activated change"),
        ("patch", "Largest change of one patch"),
    ],
)
def test_units_are_ranked_as_chosen(neurons, by, title):
    neurons.radio(key="ranking").set_value(by).run()
    assert not neurons.exception
    assert titles(neurons)[-1] == title


def test_distributions_and_all_units_open(neurons):
    view = neurons.segmented_control(key="neurons_view")
    view.set_value("Distributions").run()
    assert [title.split(":")[0] for title in titles(neurons)[-3:]] == ["Suspect", "Control", "Base"]
    neurons.segmented_control(key="neurons_view").set_value("All units").run()
    table = neurons.dataframe[0].value
    assert list(table.columns) == list(COLUMNS)
    assert len(table) == HIDDEN
    assert not neurons.exception


def test_with_few_images_the_verdict_is_inconclusive_and_the_units_are_drawn(open_page):
    app = open_page("neurons")
    assert not app.exception
    assert any("Inconclusive" in element.value for element in app.markdown)
    assert app.metric[0].value == "–"
    assert len(titles(app)) == 3


def test_without_a_control_the_page_says_what_is_missing(many_samples, open_page, models):
    app = open_page("neurons", {"base": str(models.base), "suspect": str(models.suspect)})
    assert not app.exception
    assert titles(app)[:2] == ["Suspect: every hidden unit", "Largest difference"]
    assert any("No control" in element.value for element in app.markdown)


def test_without_images_it_says_what_to_do(open_page, monkeypatch, tmp_path):
    monkeypatch.setattr(resources, "SAMPLES", tmp_path / "none")
    app = open_page("neurons")
    assert not app.exception
    assert not app.metric
    assert any("No images yet" in element.value for element in app.markdown)


def test_without_a_case_the_page_leads_to_one(open_page):
    app = open_page("neurons", {})
    assert not app.exception
    assert any("No case yet" in element.value for element in app.markdown)
