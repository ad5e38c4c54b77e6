"""Several sessions on one server: one model for all of them, in turn, and told of their place in line."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from dashboard import components, page, resources, results, shift_results
from dashboard.pickers import SetChoice
from projlens_core import analyses
from projlens_core.activations import model as activations
from projlens_core.behaviour import respond
from projlens_core.cases.case import Case
from projlens_core.inputs.images import NamedImage
from projlens_core.inputs.triggers import PRESETS
from projlens_core.runtime import fifo_lock
from projlens_core.runtime.progress import silent
from tests import pico
from tests.dashboard.conftest import press

PATIENCE = 20  # s


@pytest.fixture
def cases(models, tmp_path):
    """Cases that run one checkpoint, though they name it in different ways."""
    lone = pico.projector_file(models.base, tmp_path / "projector.safetensors")
    return [
        Case(str(models.base), str(models.suspect)),
        Case(str(models.base), str(models.control)),
        Case(str(next(models.base.glob("*.safetensors"))), str(models.suspect)),
        Case(str(lone), str(models.base)),
    ]


def _counted(monkeypatch, module, name):
    """Count the calls of what loads a model, and make them last."""
    calls, load = [], getattr(module, name)

    def slow(*args, **kwargs):
        calls.append(args)
        threading.Event().wait(0.1)
        return load(*args, **kwargs)

    monkeypatch.setattr(module, name, slow)
    return calls


def test_cases_of_one_checkpoint_share_a_tower_however_many_ask_at_once(cases, monkeypatch):
    calls = _counted(monkeypatch, activations, "load_vision")
    with ThreadPoolExecutor(8) as pool:
        towers = list(pool.map(resources.vision, cases * 2))
    assert len(calls) == 1
    assert len({id(tower.shared) for tower in towers}) == 1
    assert not any(tower.own for tower in towers)


def test_the_language_model_is_loaded_once_and_used_by_one_session_at_a_time(cases, monkeypatch):
    calls, using, overlaps = _counted(monkeypatch, respond, "load_responder"), [], []

    def use(case):
        with results.language_model(case, silent) as responder:
            overlaps.extend(using)
            using.append(case)
            threading.Event().wait(0.02)
            using.remove(case)
            return id(responder)

    with ThreadPoolExecutor(8) as pool:
        responders = set(pool.map(use, cases * 2))
    assert len(calls) == len(responders) == 1
    assert overlaps == []


def test_the_demo_models_and_the_tiny_ones_are_not_taken_for_each_other():
    demo, tiny = (
        Case("zoo:base", "zoo:malicious-injection", "zoo:clean-1"),
        Case("zoo:tiny-base", "zoo:tiny-injection", "zoo:tiny-control"),
    )
    assert resources.model_key(demo) != resources.model_key(tiny)
    loaded = (resources.whose(case).models["base"] for case in (demo, tiny))
    assert len({resources.loaded_key(model) for model in loaded}) == 2


def test_equal_images_under_other_names_are_not_another_sessions(models):
    """Results name their images and lie on shelves that all sessions share."""
    spec = PRESETS["Solid patch, centre"]
    mine, theirs = (
        SetChoice(tuple(NamedImage(f"{who}-{n}.png", image, str(n)) for n, image in enumerate(pico.images(5))), spec)
        for who in ("mine", "theirs")
    )
    analysis = analyses.find("separability")
    for choice in (mine, theirs):
        shown = page.exhibit_of(analysis, page.Request(models.case, choice, silent), analysis.options())
        assert shown.tables[1].frame["image"].tolist() == [image.name for image in choice.images]
    assert results.stamped(mine.images, spec).key != results.stamped(theirs.images, spec).key
    pairs = [[(image, image) for image in choice.images] for choice in (mine, theirs)]
    assert len({results.given(each, spec).key for each in pairs}) == 2
    opened, tower = resources.opened(models.case), resources.vision(models.case)
    for choice in (mine, theirs):
        ranked = shift_results.rankings(opened, tower, spec, choice.images, silent)
        assert list(ranked["suspect"]["clean"].names) == [image.name for image in choice.images]


def test_a_page_tells_its_place_in_line_and_is_served_in_its_turn(open_page, monkeypatch):
    said, taken, told, plain = [], threading.Event(), threading.Event(), components.plain
    monkeypatch.setattr(fifo_lock, "TOLD_EVERY", 0.01)

    def hear(text):
        said.append(text)
        if "in line" in text:
            told.set()
        return plain(text)

    def keep_it_busy():
        with results.LINE.turn():
            taken.set()
            assert told.wait(PATIENCE)

    app = open_page("response")
    monkeypatch.setattr(components, "plain", hear)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(keep_it_busy)
        assert taken.wait(PATIENCE)
        press(app, "Ask")
        other.result()
    assert not app.exception
    assert "Waiting, number 1 in line for the language model; served before you: 0 of 1" in said
    assert any("How to read this: one question, an answer in each cell" in caption.value for caption in app.caption)


def test_a_page_that_fails_gives_up_its_place(open_page, monkeypatch):
    def broken(*args, **kwargs):
        raise ZeroDivisionError

    monkeypatch.setattr(results, "answers_by_role", broken)
    press(open_page("response"), "Ask")
    with results.LINE.turn(lambda *_: pytest.fail("the place was not given up")):
        pass
