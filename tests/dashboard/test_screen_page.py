"""The Screen page on a result folder: counts, distribution, filters, the way to a case, and a folder that fills."""

import json
import shutil

import pytest

from dashboard import state
from projlens_core.cases.case import Case
from projlens_core.screen.engines.local import Local
from projlens_core.screen.handler import Limits
from projlens_core.screen.listing import read_listing
from projlens_core.screen.plan import ScreenPlan
from projlens_core.screen.run import PROGRESS, ScreenSettings, screen
from tests.dashboard.conftest import press, texts, titles
from tests.screening import population


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A population, and in `out` its screening; one suspect is no model at all, its name a formula and markup."""
    folder = population(tmp_path_factory.mktemp("screening"), 5, poisoned=1)
    (folder / "suspects" / "=1+1 **x**.bin").write_text("no model")
    base, control = str(folder / "base"), str(folder / "suspects" / "004.safetensors")
    listing = read_listing(str(folder / "suspects"), base, (control,))
    screen(listing, ScreenSettings(base, plan=ScreenPlan({})), Local(2, Limits(2**29, 30)), folder / "out")
    return folder


@pytest.fixture
def page(open_page):
    """Open the page as a link to a result folder does."""

    def opened(out):
        app = open_page()
        app.switch_page("app_pages/screen.py")
        app.query_params["screen"] = str(out)
        return app.run()

    return opened


def metrics(app) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def test_without_a_folder_it_says_how_to_make_one(open_page):
    app = open_page()
    app.switch_page("app_pages/screen.py").run()
    assert not app.exception
    assert any("No screening opened" in each.value for each in app.markdown)


def test_a_folder_that_is_none_is_one_sentence(page, tmp_path):
    app = page(tmp_path)
    assert not app.exception
    assert f"'{tmp_path}' is no result of a screening" in texts(app)


def test_it_counts_draws_and_lists_what_stands_out_first(page, folder):
    app = page(folder / "out")
    assert not app.exception
    found = metrics(app)
    assert (found["Suspects"], found["Screened"], found["Failed"]) == ("6", "6", "1")
    assert found["Above every control"].isdigit()
    assert titles(app) == ["Suspects by weights.energy_top5"]
    frame = app.dataframe[0].value
    assert frame["suspect"].iloc[0].endswith("000.safetensors")
    assert len(frame) == 7
    app.text_input(key="screen_text").set_value("bin").run()
    frame = app.dataframe[0].value
    assert len(frame) == 1
    assert frame["sentence"].iloc[0]
    app.text_input(key="screen_text").set_value("").run()
    app.multiselect(key="screen_state").set_value(["failed"]).run()
    assert len(app.dataframe[0].value) == 1


def test_a_link_reopens_folder_and_filters(open_page, folder):
    app = open_page()
    app.switch_page("app_pages/screen.py")
    said = {
        "screen": str(folder / "out"), "screen_text": "bin", "screen_state": "failed",
        "screen_score": "weights.stable_rank",
    }  # fmt: skip
    app.query_params.update(said)
    app.run()
    assert not app.exception
    assert len(app.dataframe[0].value) == 1
    assert titles(app) == ["Suspects by weights.stable_rank"]
    assert app.query_params.items() >= said.items()


def test_a_filter_of_a_folder_that_fills_is_in_the_address_at_once(page, folder, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(folder / "out", out)
    for part in (out / "parts").iterdir():
        part.unlink()
    app = page(out)
    app.text_input(key="screen_text").set_value("bin").run()
    assert not app.exception
    assert app.query_params["screen_text"] == "bin"


def test_a_row_that_is_clicked_opens_its_case(page, folder, monkeypatch):
    app = page(folder / "out")
    app.session_state["screen_table"] = {"selection": {"rows": [0], "columns": [], "cells": []}}
    app.run()
    assert not app.exception
    assert "000.safetensors" in texts(app)
    press(app, "Open the case")
    assert app.session_state[state.CASE] == Case(
        str(folder / "base"), *(str(folder / "suspects" / f"{n}.safetensors") for n in ("000", "004"))
    )


def test_a_folder_that_fills_shows_how_far_it_is(page, folder, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(folder / "out", out)
    for part in (out / "parts").iterdir():
        part.unlink()
    values = {"stage": "weights", "done": 1, "total": 4, "failed": 0, "rate": 2.0, "left": 90.0}
    (out / PROGRESS).write_text(json.dumps(values))
    app = page(out)
    assert not app.exception
    assert "weights: 1 of 4 · 2.0/s · 2 min left" in [each.proto.text for each in app.get("progress")]
    assert metrics(app)["Screened"] == "0"
