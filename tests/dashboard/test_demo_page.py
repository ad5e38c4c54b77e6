import pytest

from dashboard.demo_results import ASKED
from dashboard.views.stage_words import DoseReading, hit, sentence
from projlens_core.behaviour.flip import Flip
from tests.dashboard.conftest import press, titles

CLEAN, FULL = {"base": "An owl.", "suspect": "An owl."}, {"base": "An owl.", "suspect": "I cannot help."}


def told(percent, said, **more):
    given = {"pushed": "its patches", "pushes": {"suspect": 1.25, "control": -0.1}, "target": "cannot", "flipped": None}
    return sentence(DoseReading(percent=percent, said=said, **(given | more)))


@pytest.mark.parametrize(
    ("percent", "said", "expected"),
    [
        (0, {}, "what do base and suspect say"),
        (0, {0: CLEAN}, "both say “An owl”"),
        (0, {0: FULL}, "They differ even without the trigger"),
        (50, {0: CLEAN}, "+1.25 along the drift direction (the control −0.10). What do the models say now?"),
        (50, {0: CLEAN, 50: CLEAN}, "not the target yet"),
        (50, {0: CLEAN, 50: FULL}, "the suspect's answer has flipped"),
        (50, {0: CLEAN, 50: {"base": "An owl.", "suspect": "A cat."}}, "changes, but not to the target"),
        (100, {0: CLEAN, 100: FULL}, "base still says “An owl”, the suspect “I cannot help”"),
        (100, {0: CLEAN, 100: CLEAN}, "It flips at none of the 2 doses asked"),
    ],
)
def test_the_guide_says_what_was_measured_whatever_that_is(percent, said, expected):
    assert expected in told(percent, said)


def test_the_guide_says_where_the_answer_flips_and_whether_it_stays():
    said = {0: CLEAN, 100: FULL}
    assert "between 40 % and 45 % of the trigger." in told(100, said, flipped=Flip(0.4, 0.45, True))
    assert "and back again above" in told(100, said, flipped=Flip(0.4, 0.45, False))
    assert "at 0 % of the trigger already" in told(100, said, flipped=Flip(None, 0.0, True))


def test_without_a_known_target_a_flip_is_an_answer_unlike_the_one_without_the_trigger():
    found = hit({0: CLEAN, 100: FULL}, "")
    assert found("suspect", "I cannot help.")
    assert not found("base", "An owl.")
    assert not hit({100: FULL}, "")("suspect", "I cannot help.")  # without the answer at 0 there is nothing to compare


@pytest.fixture
def demo(open_page):
    return open_page("demo")


def test_a_model_of_ones_own_is_shown_at_every_dose_and_asked_when_told_to(demo):
    assert not demo.exception
    assert titles(demo)[0] == "Push: largest +0.00"
    assert len(titles(demo)) == 4
    press(demo, "3 · Full")
    assert demo.slider(key="dose").value == 100
    full = titles(demo)[0]
    assert full != "Push: largest +0.00"
    demo.toggle(key="live").set_value(True).run()
    assert not demo.exception
    press(demo, "Less")
    assert demo.slider(key="dose").value == 95
    assert not demo.exception
    assert titles(demo)[0] != full


def test_every_dose_of_the_curve_is_asked_once_and_kept(demo, monkeypatch):
    demo.toggle(key="live").set_value(True).run()
    assert not demo.exception

    def fail(*_, **__):
        raise AssertionError("asked again")

    monkeypatch.setattr("dashboard.demo_results.answers_by_role", fail)
    for percent in ASKED[:2]:
        demo.slider(key="dose").set_value(percent).run()
        assert not demo.exception
