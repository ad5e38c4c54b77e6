"""What a server that others can reach opens, and what config.toml says of the doors."""

import os
import tomllib

import pytest
import streamlit as st

from dashboard import doors, state
from projlens_core.inputs.images import MAX_BYTES, NamedImage
from projlens_core.report.bundle import MAX_ZIPPED
from projlens_core.runtime.roots import ROOTS
from projlens_core.weights import upload
from tests import pico
from tests.dashboard.conftest import APP, PAGES, texts, titles

CONFIG = tomllib.loads((APP.parent / ".streamlit" / "config.toml").read_text())


@pytest.fixture(autouse=True)
def no_roots(monkeypatch):
    """None are named; what the dashboard sets itself is taken back."""
    monkeypatch.setenv(ROOTS, "")
    monkeypatch.delenv(ROOTS)


@pytest.fixture
def reachable(monkeypatch):
    """The server is bound to every address, as in a container."""
    before = st.get_option("server.address")
    st.config.set_option("server.address", "0.0.0.0")
    yield
    st.config.set_option("server.address", before)


def test_the_dashboard_is_bound_to_its_own_machine_and_tells_nobody():
    server = CONFIG["server"]
    assert server["address"] == "127.0.0.1"
    assert set(server["allowedHosts"]) == {"localhost", "127.0.0.1"}
    assert server["enableXsrfProtection"] is True
    assert "enableCORS" not in server  # on unless switched off
    assert CONFIG["browser"]["gatherUsageStats"] is False
    assert CONFIG["client"]["showErrorDetails"] == "type"


def test_no_upload_is_larger_than_the_largest_that_is_taken():
    assert CONFIG["server"]["maxUploadSize"] * 2**20 == max(upload.MAX_BYTES, MAX_BYTES, MAX_ZIPPED)


@pytest.mark.parametrize(
    ("address", "own"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.7", False),
        ("example.org", False),
        ("localhost.example.org", False),
        ("unix:///run/projlens", False),
        ("", False),
        (None, False),
    ],
)
def test_only_a_loopback_address_counts_as_one_s_own_machine(address, own):
    assert doors.is_loopback(address) is own


@pytest.mark.parametrize("page", [None, *PAGES])
def test_a_link_to_a_case_on_a_server_that_others_reach_opens_no_path_on_any_page(page, open_page, reachable):
    app = open_page(page)
    assert not app.exception
    assert not titles(app)
    if page != "lowrank":  # which asks for a target before it opens anything
        assert f"starting it with {ROOTS}=FOLDER" in texts(app)


def test_on_one_s_own_machine_paths_are_opened(open_page):
    assert titles(open_page())
    assert ROOTS not in os.environ


def test_named_roots_are_opened_and_nothing_else_is(open_page, reachable, models, tmp_path, monkeypatch):
    monkeypatch.setenv(ROOTS, str(models.base.parent))
    app = open_page()
    assert titles(app)
    outside = pico.suspect(models.base, tmp_path / "outside")
    for typed in (outside, tmp_path / "nothing"):
        app.text_input[1].set_value(str(typed))
        app.button[0].click().run()
        assert not app.exception
        assert "does not lie in" in texts(app)
        assert app.query_params["suspect"] == str(models.suspect)


def test_a_path_typed_on_the_weights_page_passes_the_same_door(open_page, models, tmp_path, monkeypatch):
    monkeypatch.setenv(ROOTS, str(models.base.parent))
    app = open_page("weights")
    app.text_input(key="beside by path").set_value(str(pico.suspect(models.base, tmp_path / "outside"))).run()
    assert not app.exception
    assert "does not lie in" in texts(app)


def test_an_upload_is_opened_where_no_path_is(open_page, models, tmp_path, reachable):
    data = {
        role: pico.projector_file(folder, tmp_path / role / "projector.safetensors").read_bytes()
        for role, folder in (("base", models.base), ("suspect", models.suspect))
    }
    app = open_page(params={})
    for role, content in data.items():
        app.file_uploader(key=f"upload-{role}").set_value([("projector.safetensors", content, "")])
    app.button[0].click().run()
    assert not app.exception
    assert titles(app)
    assert app.query_params["suspect"].startswith("upload:")


def test_a_session_keeps_a_bounded_number_of_images(monkeypatch):
    monkeypatch.setattr(state, "MAX_UPLOADS", 2)
    monkeypatch.setattr(st, "session_state", {state.UPLOAD_ROUND: 0})
    images = [NamedImage(f"{i}.png", image, f"hash {i}") for i, image in enumerate(pico.images(3))]
    state.add_uploads(images, [])
    assert list(state.uploads()) == ["hash 0", "hash 1"]
    assert "uploads hold 2 of 2 images" in st.session_state[state.REFUSED][0][1]
