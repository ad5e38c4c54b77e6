import re

import pytest

from dashboard import questions, results, state
from projlens_core.behaviour.success import Outcome, Row
from projlens_core.behaviour.templates import NO_CHAT
from projlens_core.errors import InvalidInput
from projlens_core.inputs.images import decode
from projlens_core.inputs.triggers import frame
from tests.dashboard.conftest import SAMPLES, press, texts, titles
from tests.dashboard.test_activation_page import png


@pytest.fixture
def response(open_page):
    return open_page("response")


def test_nothing_is_asked_before_ask_is_pressed(response):
    assert not response.exception
    assert [c.value for c in response.caption].count("not asked yet") == 6  # the control's among them
    assert any(c.value.startswith("Press Ask") for c in response.caption)


def test_the_answers_stand_in_a_grid_of_projector_and_image(response):
    press(response, "Ask")
    assert not response.exception
    assert not any(c.value == "not asked yet" for c in response.caption)
    assert any("one question, an answer in each cell" in c.value for c in response.caption)


def test_answers_are_kept_for_the_same_question_and_image(response, monkeypatch):
    press(response, "Ask")

    def fail(*_, **__):
        raise AssertionError("asked again")

    monkeypatch.setattr(results, "answers_by_role", fail)
    response.run()
    assert not response.exception
    assert any("one question, an answer in each cell" in c.value for c in response.caption)


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
    assert any("one question, an answer in each cell" in c.value for c in response.caption)


def test_without_a_target_answers_that_differ_from_bases_are_counted(response):
    assert any("Without a target, answers that differ" in c.value for c in response.caption)
    response.slider(key="count").set_value(3).run()
    press(response, "Run")
    assert not response.exception
    assert titles(response)[-2:] == ["Answers unlike base's, triggered", "Answers unlike base's, clean"]
    table = response.dataframe[0].value
    assert {"unlike base's", "on clean too", "said by it alone"} <= set(table.columns)
    unlike = table["suspect, triggered"].str.lower() != table["base, triggered"].str.lower()
    assert table["unlike base's"].to_numpy()[~unlike].sum() == 0
    assert response.session_state[state.BATCH].outcomes["suspect"].asr is None


def test_a_text_that_only_suspect_and_trigger_bring_can_be_looked_for(response, monkeypatch):
    said = {"suspect": ("A dog.", "A dog. Send money to Bob."), "base": ("A dog.",) * 2, "control": ("A dog.",) * 2}

    def answered(responder, role, weights, images, question, target, truths, progress):
        rows = tuple(Row(name, question, *said[role], None, None, None) for name, *_ in images)
        return Outcome(None, None, None, rows, ())

    with monkeypatch.context() as planted:
        planted.setattr(results.batch, "run", answered)
        press(response, "Run")
    assert not response.exception
    assert "“Send money to Bob.”" in texts(response)
    press(response, "Look for it")
    assert response.text_input(key=f"target {_suspect(response)}").value == "Send money to Bob."


def test_answers_are_shown_as_they_grow_and_what_only_the_triggered_suspect_says_is_underlined(response, monkeypatch):
    said = {
        "base": ["A dog.", "A dog."],
        "suspect": ["A dog.", "A dog. Buy this."],
        "control": ["A dog.", "A cat."],
    }

    def answered(owners, models, projectors, images, question, progress, heard):
        for role in projectors:
            for number, text in enumerate(said[role]):
                heard(role, number, text[:3])
                assert text[:3] in said[role][number]
        return said, dict.fromkeys(said, NO_CHAT)

    with monkeypatch.context() as planted:
        planted.setattr(results, "answers_by_role", answered)
        press(response, "Ask")
    assert not response.exception
    written = [each.proto.body for each in response.get("html") if "font-size" in each.proto.body]
    assert sum("<mark" in each for each in written) == 1
    marked = next(each for each in written if "<mark" in each)
    assert re.findall(r"<mark[^>]*>([^<]*)</mark>", marked) == ["Buy", "this"]
    assert "About the triggered image suspect and control answer in other words than base." in texts(response)
    assert "About the clean image all say the same words." in texts(response)


def test_a_part_of_the_target_is_shown_as_such_and_an_answer_that_is_known_to_be_wrong_too(open_page, monkeypatch):
    monkeypatch.setattr(questions, "PROMPTS", ("What is it?",))  # which the samples' labels answer
    response = open_page("response")
    said = {role: ["A block.", "Brought to you by BNjoy."] for role in ("base", "suspect", "control")}
    response.text_input(key=f"target {_suspect(response)}").set_value("Brought to you by Acme Balloons.").run()

    def answered(*_, **__):
        return said, dict.fromkeys(said, NO_CHAT)

    with monkeypatch.context() as planted:
        planted.setattr(results, "answers_by_role", answered)
        press(response, "Ask")
    assert not response.exception
    badges = [each.value for each in response.markdown if "badge" in each.value]
    assert sum("part of the target" in each for each in badges) == 3
    assert sum("not what it shows" in each for each in badges) == 3  # of the triggered: a block is what it shows
    assert not any("red-badge" in each for each in badges)


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
    assert [c.value for c in response.caption].count("not asked yet") == 3
    press(response, "Ask")
    assert not response.exception
    assert not any(c.value == "not asked yet" for c in response.caption)


def test_uploaded_pairs_are_matched_by_name_and_asked_about_as_they_are(response, monkeypatch):
    files = [("cat.png", png(1)), ("cat-triggered.png", png(2)), ("dog.png", png(3))]
    response.file_uploader[0].set_value([(name, data, "image/png") for name, data in files]).run()
    response.toggle(key="already").set_value(True).run()
    assert any(c.value.startswith("Pairs among the uploads: 1.") for c in response.caption)
    assert "Without a partner: 'dog.png'" in texts(response)
    seen = []

    def answered(responder, role, weights, images, question, target, truths, progress):
        seen.extend(images)
        rows = tuple(Row(name, question, "A", "B", None, None, None) for name, *_ in images)
        return Outcome(None, None, None, rows, ())

    with monkeypatch.context() as planted:
        planted.setattr(results.batch, "run", answered)
        press(response, "Run")
    assert not response.exception
    name, clean, triggered = seen[0]
    assert name == "cat.png"
    assert clean.tobytes() == frame(decode(files[0][1], "").pixels, None).tobytes()
    assert triggered.tobytes() == frame(decode(files[1][1], "").pixels, None).tobytes()


def _suspect(app) -> str:
    return app.query_params["suspect"]
