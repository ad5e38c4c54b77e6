import pytest

from tests import pico
from tests.dashboard.conftest import SAMPLES, texts, titles


@pytest.fixture
def separability(open_page):
    return open_page("separability")


def test_suspect_and_control_stand_beside_base_norms_and_chance(separability):
    assert not separability.exception
    assert titles(separability) == ["Separation, triggered from clean", "Decision value of every image"]
    assert [metric.label for metric in separability.metric] == [
        "AUROC, suspect",
        "Gain over base",
        "Norms alone",
        "Shuffled labels",
    ]
    assert all(metric.delta.startswith("control ") for metric in separability.metric)
    assert f"{SAMPLES} triggered images" in separability.metric[0].help
    interval = [metric.proto.delta_description for metric in separability.metric]
    assert "p = " in interval[0]  # it is the AUROC's, and not the shuffled labels'
    assert "p = " not in interval[3]


def test_all_numbers_are_a_row_a_projector_and_a_row_an_image(separability):
    separability.segmented_control(key="separability_view").set_value("All numbers").run()
    assert not separability.exception
    by_projector, by_image = (frame.value for frame in separability.dataframe)
    assert list(by_projector.projector) == ["base", "suspect", "control"]
    assert list(by_image.image) == [f"sample-{i}.png" for i in range(SAMPLES)]


def test_without_a_control_the_page_says_what_is_missing(open_page, models):
    app = open_page("separability", {"base": str(models.base), "suspect": str(models.suspect)})
    assert not app.exception
    assert "No control" in texts(app)


def test_too_few_images_are_one_sentence(open_page, samples):
    for file in list(samples.glob("*.png"))[3:]:
        file.unlink()
    app = open_page("separability")
    assert not app.exception
    assert "3 different images cannot be cross-validated" in texts(app)


def test_projectors_without_a_model_around_them_are_refused_in_one_sentence(open_page, models, tmp_path):
    base = pico.projector_file(models.base, tmp_path / "a" / "base.safetensors")
    suspect = pico.projector_file(models.suspect, tmp_path / "b" / "suspect.safetensors")
    app = open_page("separability", {"base": str(base), "suspect": str(suspect)})
    assert not app.exception
    assert "Neither base nor suspect comes with a model around its projector" in texts(app)


def test_without_a_case_the_page_leads_to_the_case_page(open_page):
    app = open_page("separability", {})
    assert any("No case yet" in element.value for element in app.markdown)


def test_without_images_the_page_says_what_to_do(open_page, samples):
    for file in samples.iterdir():
        file.unlink()
    samples.rmdir()
    app = open_page("separability")
    assert not app.exception
    assert any("No images yet" in element.value for element in app.markdown)
