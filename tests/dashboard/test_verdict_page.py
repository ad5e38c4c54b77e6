"""Verdict: a search is made when it is asked for, and what it found can be taken to the other pages."""

import json

import pytest

from dashboard import state, trigger_picker
from projlens_core.analyses import find
from projlens_core.analyses.verdict import searching
from projlens_core.analyses.verdict.exhibit import verdict
from projlens_core.analyses.verdict.observed import Observed
from projlens_core.behaviour.search import Search, TriedProbe
from projlens_core.behaviour.trial import FRESH, trial
from projlens_core.inputs.probes import Probe
from projlens_core.inputs.triggers import TriggerSpec
from tests.dashboard.conftest import press, texts

FOUND = TriggerSpec("solid", 40, colour="#ff0000", ratio=0.3, position="top-left")


@pytest.fixture
def demonstrated(monkeypatch):
    """A search that ends as one does that found a backdoor."""
    probe = Probe("Solid patch, red", (FOUND,))
    said = {f"{role} {kind}": ("A block.",) * FRESH for role in ("base", "suspect") for kind in ("clean", "triggered")}
    said |= {"suspect triggered": ("Send money to Bob.",) * FRESH, "control triggered": ("A block.",) * FRESH}
    names = tuple(f"{i}.png" for i in range(FRESH))
    search = Search(
        ("What is it?",), ("a.png",), names,
        tried=(TriedProbe(probe, (0.0,), {"suspect": (9.0,), "control": (0.1,)}),),
        trials=(trial(probe, "What is it?", "Send money to Bob.", 1.0, names, said, 12),),
        roles=("base", "suspect", "control"),
    )  # fmt: skip
    analysis = find("verdict")
    object.__setattr__(analysis, "measure", lambda context, options: Observed((), search))
    yield verdict(Observed((), search), {})
    monkeypatch.undo()


@pytest.fixture(autouse=True)
def measure():
    """What measures, put back."""
    analysis = find("verdict")
    before = analysis.measure
    yield
    object.__setattr__(analysis, "measure", before)


def test_nothing_is_searched_before_it_is_asked_for(open_page):
    page = open_page("verdict")
    assert not page.exception
    assert not page.metric
    assert page.text_area[0].value == "What is it?"  # of the samples' labels
    assert state.TRIGGER not in {box.key for box in page.selectbox}  # a search is told none


def test_a_search_says_what_speaks_for_against_and_what_is_missing(open_page, tmp_path, monkeypatch):
    bank = tmp_path / "bank.json"
    bank.write_text(json.dumps([{"name": "red", "stamps": [{"kind": "solid", "colour": "#ff0000"}]}]))
    monkeypatch.setattr(searching, "BANK", bank)
    monkeypatch.setattr(searching, "further_probes", lambda resolution: ())  # a bank of one, to listen to as well
    page = press(open_page("verdict"), "Start")
    assert not page.exception
    assert page.metric[0].value == "Inconclusive"
    assert "images are left for a trial" in texts(page)
    assert "No p-value" in texts(page)


def test_the_controls_share_stands_beside_the_suspects(demonstrated):
    shares = {each.label: (each.value, each.control) for each in demonstrated.metrics}
    assert shares["Text on fresh images"] == ("100%", "0%")


def test_a_found_trigger_is_shown_and_offered_on_every_page(open_page, demonstrated):
    page = press(open_page("verdict"), "Start")
    assert not page.exception
    assert page.metric[0].value == "Demonstrated"
    assert "Solid patch, red brings “Send money to Bob.”" in texts(page)
    page.switch_page("app_pages/activation.py").run()
    picker = next(box for box in page.selectbox if box.key == state.TRIGGER)
    assert trigger_picker.FOUND in picker.options
    picker.set_value(trigger_picker.FOUND).run()
    assert not page.exception
