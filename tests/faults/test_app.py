"""Faults while the app is open: a panel with one sentence, never a traceback, and afterwards it works as before."""

import shutil

import numpy as np
import pytest
import torch

from dashboard import resources, results, state
from projlens_core.analyses.activation import measure
from tests.dashboard.conftest import PAGES, cache, models, open_page, press, samples, texts  # noqa: F401

UNASKED = (PAGES["lowrank"], PAGES["robustness"])  # read nothing before a button is pressed
TOO_LITTLE = "There is too little memory for this; use fewer or smaller images, close other programs, or take"


@pytest.mark.parametrize("allocate", [torch.empty, np.empty], ids=["torch", "numpy"])
def test_out_of_memory_on_one_request_is_said_and_the_next_is_served(open_page, monkeypatch, allocate):  # noqa: F811
    with monkeypatch.context() as patch:
        patch.setattr(measure, "sample_shift", lambda *_: allocate(2**50))
        app = open_page("activation")
        assert not app.exception
        assert texts(app).count(TOO_LITTLE) == 1
    app.run()
    assert not app.exception
    assert TOO_LITTLE not in texts(app)
    assert app.metric


def test_out_of_memory_outside_of_an_analysis_is_said_too(open_page, monkeypatch):  # noqa: F811
    with monkeypatch.context() as patch:
        patch.setattr(resources, "triggered_image", lambda *_: np.empty(2**50))
        app = open_page("activation")
        assert not app.exception
        assert texts(app).count(TOO_LITTLE) == 1


def test_out_of_memory_while_the_model_answers_is_said_and_the_next_question_is_answered(
    open_page,  # noqa: F811
    monkeypatch,
):
    app = open_page("response")
    with monkeypatch.context() as patch:
        patch.setattr(results, "answers_by_role", lambda *_, **__: torch.empty(2**50))
        press(app, "Ask")
        assert not app.exception
        assert texts(app).count(TOO_LITTLE) == 1
    press(app, "Ask")
    assert not app.exception
    assert TOO_LITTLE not in texts(app)
    assert not any(caption.value == "not asked yet" for caption in app.caption)


def test_a_model_folder_deleted_while_open_is_said_on_every_page_and_nothing_finished_is_lost(
    open_page,  # noqa: F811
    models,  # noqa: F811
    tmp_path,
):
    mine = tmp_path / "mine"
    shutil.copytree(models.suspect, mine)
    params = {"base": str(models.base), "suspect": str(mine)}
    app = open_page("report", params)
    app.button_group(key="report_parts").set_value(["case"])
    press(app, "Generate")
    assert app.session_state[state.RECORD]
    mine.rename(tmp_path / "gone")
    for page in PAGES.values():
        app.switch_page(page).run()
        assert not app.exception, page
        if page == PAGES["report"]:
            assert any(button.label == "Report (HTML)" for button in app.download_button)
        elif page not in UNASKED:
            assert f"'{mine}' does not exist" in texts(app), page
    (tmp_path / "gone").rename(mine)
    app.switch_page(PAGES["activation"]).run()
    assert not app.exception
    assert app.metric


def test_a_cache_that_keeps_nothing_is_said_on_the_page(open_page, cache):  # noqa: F811
    cache.write_text("a file, no folder")
    app = open_page("activation")
    assert not app.exception
    assert app.metric
    app.run()  # what was found in this run is said in the next
    assert f"Results cannot be kept in {cache} (" in texts(app)
