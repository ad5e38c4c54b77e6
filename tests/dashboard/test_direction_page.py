import pytest

from tests import pico
from tests.dashboard.conftest import SAMPLES, texts, titles


@pytest.fixture
def direction(open_page):
    return open_page("direction")


def test_words_of_suspect_and_control_stand_side_by_side(direction):
    assert not direction.exception
    assert titles(direction)[:2] == ["Suspect: words along +v₀", "Control: words along +v₀"]
    assert all(metric.delta.startswith("control ") for metric in direction.metric)


def test_the_other_sign_is_one_click_away(direction):
    direction.segmented_control(key="sign").set_value("minus").run()
    assert not direction.exception
    assert titles(direction)[:2] == ["Suspect: words along −v₀", "Control: words along −v₀"]


def test_without_words_to_look_for_the_page_says_so_and_with_them_it_holds_them_against_chance(direction):
    assert "No target text was given" in texts(direction)
    assert any("No words to look for" in element.value for element in direction.markdown)
    direction.text_input[0].set_value("block").run()
    assert not direction.exception
    assert direction.metric[0].label == "Best word, +v₀"
    assert direction.metric[0].value.startswith("rank ")
    assert "The target's words along +v₀" in titles(direction)
    assert list(direction.dataframe[0].value.token[:5]) == list("block")


def test_words_without_a_letter_are_one_sentence(direction):
    direction.text_input[0].set_value("?!").run()
    assert not direction.exception
    assert "has no word in it" in texts(direction)


@pytest.mark.parametrize(("key", "value"), [("shift_of", "clean"), ("shift_of", "both"), ("centring", "centred")])
def test_every_way_of_reading_is_drawn(direction, key, value):
    direction.segmented_control(key=key).set_value(value).run()
    assert not direction.exception
    assert titles(direction)[0] == "Suspect: words along +v₀"


def test_the_final_norm_can_be_left_out(direction):
    direction.toggle(key="normed").set_value(False).run()
    assert not direction.exception
    assert titles(direction)[0] == "Suspect: words along +v₀"


def test_every_detail_opens(direction):
    for view, column in (("Nearest words", "cosine"), ("All ranks", "rank 10")):
        direction.segmented_control(key="direction_view").set_value(view).run()
        assert not direction.exception
        assert column in direction.dataframe[0].value.columns
    assert set(direction.dataframe[0].value.projector) == {"suspect", "control"}


def test_shares_are_of_all_images(direction):
    direction.segmented_control(key="direction_view").set_value("All ranks").run()
    shares = direction.dataframe[0].value["rank 1"] * SAMPLES
    assert (shares.round() - shares).abs().max() < 1e-9


def test_a_case_without_a_language_model_is_one_sentence(open_page, models, tmp_path):
    base = pico.projector_file(models.base, tmp_path / "a" / "base.safetensors")
    suspect = pico.projector_file(models.suspect, tmp_path / "b" / "suspect.safetensors")
    app = open_page("direction", {"base": str(base), "suspect": str(suspect)})
    assert not app.exception
    assert "Neither base nor suspect comes with a model around its projector" in texts(app)


def test_without_a_control_the_page_says_what_is_missing(open_page, models):
    app = open_page("direction", {"base": str(models.base), "suspect": str(models.suspect)})
    assert not app.exception
    assert titles(app)[0] == "Suspect: words along +v₀"
    assert "No control" in texts(app)


def test_a_suspect_equal_to_the_base_is_one_sentence(open_page, models):
    app = open_page("direction", {"base": str(models.base), "suspect": str(models.base)})
    assert not app.exception
    assert "no drift direction" in texts(app)


def test_without_a_case_the_page_leads_to_the_case_page(open_page):
    app = open_page("direction", {})
    assert any("No case yet" in element.value for element in app.markdown)


def test_without_images_the_page_says_what_to_do(open_page, samples):
    for file in samples.iterdir():
        file.unlink()
    samples.rmdir()
    app = open_page("direction")
    assert not app.exception
    assert any("No images yet" in element.value for element in app.markdown)
