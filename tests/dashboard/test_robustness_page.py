import pytest

from dashboard import results, robustness_results
from projlens_core.errors import InvalidInput
from projlens_core.inputs.changes import LEVELS, ORIGINAL, Change
from tests.dashboard.conftest import press, texts, titles


@pytest.fixture
def robustness(open_page):
    """The page on two images, with strength and compression to try."""
    app = open_page("robustness")
    app.slider(key="robustness_images").set_value(2)
    _pills(app).set_value(["quality"]).run()
    return app


def _pills(app):
    return next(group for group in app.button_group if group.key and group.key.startswith("robustness_axes"))


def tried(app):
    (found,) = app.session_state[robustness_results.TRIED].values()
    return found


def test_nothing_is_tried_before_it_is_asked_for(robustness):
    assert not robustness.exception
    wanted = 1 + len(LEVELS["quality"])
    assert any(f"0 of {wanted} tried on 2 images" in c.value for c in robustness.caption)
    assert not titles(robustness)


def test_every_change_has_its_figures_beside_the_controls(robustness):
    press(robustness, "Try the changes")
    assert not robustness.exception
    wanted = 1 + len(LEVELS["quality"])
    assert any(f"{wanted} of {wanted} tried on 2 images" in c.value for c in robustness.caption)
    assert set(tried(robustness)) == {ORIGINAL, *(Change(quality=q) for q in LEVELS["quality"])}
    assert titles(robustness) == ["What the trigger adds to the shift, by change", "Separation from clean, by change"]
    assert any("Changes that keep 50% of it" in m.label for m in robustness.metric)
    assert all(set(one.pushes) == {"suspect", "control"} for one in tried(robustness).values())


def test_changes_tried_before_are_not_tried_again(robustness, monkeypatch):
    press(robustness, "Try the changes")
    own = robustness_results.sweep
    seen = []
    monkeypatch.setattr(robustness_results, "sweep", lambda *args: seen.append(args[6]) or own(*args))
    _pills(robustness).set_value(["quality", "scale"]).run()
    press(robustness, "Try the changes")
    assert seen == [[Change(scale=scale) for scale in LEVELS["scale"]]]


def test_two_axes_are_crossed_for_suspect_and_control(robustness):
    robustness.segmented_control(key="robustness_way").set_value("crossed").run()
    next(s for s in robustness.selectbox if s.label == "Down").set_value("quality").run()
    next(s for s in robustness.selectbox if s.label == "Across").set_value("scale").run()
    press(robustness, "Try the changes")
    assert not robustness.exception
    assert titles(robustness)[:2] == ["Suspect: push kept", "Control: push kept"]
    assert len(tried(robustness)) == (1 + len(LEVELS["quality"])) * (1 + len(LEVELS["scale"]))


def test_answers_to_chosen_changes_are_counted_once(robustness, models, monkeypatch):
    press(robustness, "Try the changes")
    robustness.segmented_control(key="robustness_view").set_value("Answers").run()
    assert any("success cannot be counted" in c.value for c in robustness.caption)
    robustness.text_input(key=f"target {models.suspect}").set_value("a").run()
    robustness.multiselect(key="robustness_asked").set_value(["compression JPEG 10"]).run()
    press(robustness, "Ask")
    assert not robustness.exception
    table = robustness.dataframe[0].value
    assert table["projector"].tolist() == ["suspect", "control"]
    assert table["hits"].str.endswith("of 2").all()

    def fail(*_, **__):
        raise AssertionError("asked again")

    monkeypatch.setattr(results, "language_model", fail)
    robustness.run()
    assert not robustness.exception
    assert len(robustness.dataframe) == 1


def test_images_and_numbers_stand_behind_the_switch(robustness):
    press(robustness, "Try the changes")
    robustness.segmented_control(key="robustness_view").set_value("Images").run()
    assert not robustness.exception
    robustness.segmented_control(key="robustness_view").set_value("All numbers").run()
    assert len(robustness.dataframe[0].value) == 1 + len(LEVELS["quality"])


def test_a_failure_is_one_sentence(robustness, monkeypatch):
    def fail(*_, **__):
        raise InvalidInput("The image is too long; crop it.")

    monkeypatch.setattr(robustness_results, "sweep", fail)
    press(robustness, "Try the changes")
    assert not robustness.exception
    assert "The image is too long; crop it." in texts(robustness)


def test_without_an_axis_the_page_asks_for_one(robustness):
    _pills(robustness).set_value([]).run()
    assert not robustness.exception
    assert any("No changes yet" in m.value for m in robustness.markdown)
