"""The page of an analysis that brings no layout of its own."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from projlens_core import analyses
from tests import toys


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setattr(analyses, "__path__", [*analyses.__path__, str(Path(toys.__file__).parent)])
    monkeypatch.setattr(analyses, "KEYS", (*analyses.KEYS, "toy"))
    analyses.find.cache_clear()
    yield
    analyses.find.cache_clear()


def _page():
    from dashboard import page

    page.plain("toy")


def test_it_draws_headline_chart_and_table(toy, models):
    shown = AppTest.from_function(_page, default_timeout=120)
    shown.session_state["case"] = models.case
    shown.run()
    assert not shown.exception
    assert shown.title[0].value == "Toy"
    assert shown.metric[0].label == "Change, suspect"
    assert len(shown.get("vega_lite_chart")) == 1
    assert len(shown.dataframe) == 1


def test_the_sidebar_leads_to_it(toy, open_page):
    app = open_page()
    assert not app.exception
    assert "By how much does the trigger change an embedding?" in [each.value for each in app.sidebar.caption]
