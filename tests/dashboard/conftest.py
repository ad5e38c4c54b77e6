"""The dashboard on pico models: a base, a suspect with a planted delta, a control, a few samples with labels."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import streamlit as st
from streamlit import config
from streamlit.testing.v1 import AppTest

from dashboard import resources
from projlens_core.cases.case import Case
from tests import pico

APP = Path(__file__).resolve().parents[2] / "dashboard" / "router.py"
PAGES = {
    "summary": "app_pages/summary.py",
    "verdict": "app_pages/verdict.py",
    "case": "app_pages/case.py",
    "weights": "app_pages/spectrum.py",
    "activation": "app_pages/activation.py",
    "direction": "app_pages/lens.py",
    "neurons": "app_pages/neurons.py",
    "separability": "app_pages/separability.py",
    "demo": "app_pages/demo.py",
    "response": "app_pages/response.py",
    "lowrank": "app_pages/lowrank.py",
    "robustness": "app_pages/robustness.py",
    "repair": "app_pages/repair.py",
    "report": "app_pages/report.py",
}
SAMPLES = 6


# `streamlit run` reads the settings next to the app; AppTest runs the script alone.
config._main_script_path = str(APP)
config.get_config_options(force_reparse=True)


@dataclass(frozen=True)
class Models:
    base: Path
    suspect: Path
    control: Path

    @property
    def case(self) -> Case:
        return Case(str(self.base), str(self.suspect), str(self.control))


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    base = pico.checkpoint(folder / "base")
    pico.suspect(base, folder / "suspect", strength=(6.0, 2.0))
    pico.suspect(base, folder / "control", strength=(0.5,) * 12, seed=7)
    return Models(base, folder / "suspect", folder / "control")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PROJLENS_CACHE", str(tmp_path / "cache"))
    st.cache_resource.clear()
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def samples(tmp_path, monkeypatch):
    """Samples of the test's own, and no zoo: what ships with ProjLens is tested where it is made."""
    folder = tmp_path / "samples"
    folder.mkdir()
    with (folder / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("image", "prompt", "answer"))
        for number, image in enumerate(pico.images(SAMPLES)):
            image.save(folder / f"sample-{number}.png")
            table.writerow((f"sample-{number}.png", "What is it?", "block"))
    monkeypatch.setattr(resources, "SAMPLES", folder)
    monkeypatch.setattr(resources, "zoo", dict)
    return folder


@pytest.fixture
def open_page(models):
    """Open a page as a link to it would: open_page("activation"), by default on the pico case."""

    def opened(page: str | None = None, params: dict[str, str] | None = None) -> AppTest:
        app = AppTest.from_file(str(APP), default_timeout=120)
        address = models.case.to_params() if params is None else params
        app.query_params.update(address)
        app.run()
        app.switch_page(PAGES[page or "case"])
        app.query_params.update(address)  # the first run, of the page Summary, dropped what it does not know
        return app.run()

    return opened


def press(app: AppTest, label: str) -> AppTest:
    """Click the button with this label and let the script run."""
    return next(button for button in app.button if button.label == label).click().run()


def texts(app: AppTest) -> str:
    """All plain text on the page: what names, errors and warnings are written in."""
    return "\n".join(element.value for element in app.text)


def titles(app: AppTest) -> list[str]:
    """The titles of all charts on the page."""
    found = []
    for element in app.get("vega_lite_chart"):
        title = json.loads(element.proto.spec).get("title", "")
        found.append(title["text"] if isinstance(title, dict) else title)
    return [title for title in found if title]
