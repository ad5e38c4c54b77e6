import pytest

from dashboard import results, state
from projlens_core.errors import InvalidInput
from tests.dashboard.conftest import SAMPLES, press, texts, titles


@pytest.fixture
def response(open_page):
    return open_page("response")


def test_nothing_is_asked_before_ask_is_pressed(response):
    assert not response.exception
    assert [c.value for c in response.caption].count("not asked yet") == 4
    assert any(c.value.startswith("Press Ask") for c in response.caption)


def test_four_answers_stand_in_a_grid_of_projector_and_image(response):
    press(response, "Ask")
    assert not response.exception
    assert not any(c.value == "not asked yet" for c in response.caption)
    assert any("one question, four answers" in c.value for c in response.caption)


def test_answers_are_kept_for_the_same_question_and_image(response, monkeypatch):
    press(response, "Ask")

    def fail(*_, **__):
        raise AssertionError("asked again")

    monkeypatch.setattr(results, "answers_by_role", fail)
    response.run()
    assert not response.exception
    assert any("one question, four answers" in c.value for c in response.caption)


def test_a_failure_is_one_sentence_and_the_page_stays_usable(response, monkeypatch):
    def fail(*_, **__):
        raise InvalidInput("The prompt is too long by 3 tokens; shorten it.")

    with monkeypatch.context() as broken:
        broken.setattr(results, "answers_by_role", fail)
        press(response, "Ask")
        assert not response.exception
        assert "The prompt is too long by 3 tokens; shorten it." in texts(response)
    press(response, "Ask")
    assert "too long" not in texts(response)
    assert any("one question, four answers" in c.value for c in response.caption)


def test_a_batch_needs_a_target(response):
    assert next(button for button in response.button if button.label == "Run").disabled
    assert any("Give the target to look for" in c.value for c in response.caption)


@pytest.fixture
def batch(response):
    response.text_input(key=f"target {_suspect(response)}").set_value("a").run()
    response.slider(key="count").set_value(3).run()
    return press(response, "Run")


def test_a_batch_shows_rates_of_every_projector_a_table_with_thumbnails_and_a_csv(batch):
    assert not batch.exception
    assert titles(batch)[-2:] == ["Attack success rate", "Target on clean images"]
    table = batch.dataframe[0].value
    assert len(table) == 3
    assert table["triggered"].str.startswith("data:image/jpeg;base64,").all()
    assert {"picture", "suspect, triggered", "suspect, clean", "base, triggered"} <= set(table.columns)
    assert [b.label for b in batch.download_button][-2:] == ["CSV", "Parquet"]


def test_utility_is_measured_where_answers_are_known(batch):
    batch.toggle(key="utility").set_value(True).run()
    press(batch, "Run")
    assert not batch.exception
    assert titles(batch)[-1] == "Clean utility"
    outcome = batch.session_state[state.BATCH].outcomes["suspect"]
    assert outcome.utility.n == 3


def test_a_batch_of_another_case_is_not_shown(batch, models):
    batch.query_params["suspect"] = str(models.control)
    batch.run()
    assert not batch.exception
    assert "Attack success rate" not in titles(batch)


def test_a_failed_batch_says_why_and_can_be_run_again(response, monkeypatch):
    response.text_input(key=f"target {_suspect(response)}").set_value("a").run()

    def fail(*_, **__):
        raise InvalidInput("The disk is full; make room.")

    with monkeypatch.context() as broken:
        broken.setattr(results.batch, "run", fail)
        press(response, "Run")
        assert not response.exception
        assert "The disk is full; make room." in texts(response)
    press(response, "Run")
    assert len(response.dataframe[0].value) == SAMPLES


def test_a_triggered_upload_without_its_twin_is_asked_about_alone(response):
    response.toggle(key="already").set_value(True).run()
    assert [c.value for c in response.caption].count("not asked yet") == 2
    press(response, "Ask")
    assert not response.exception
    assert not any(c.value == "not asked yet" for c in response.caption)


def _suspect(app) -> str:
    return app.query_params["suspect"]
