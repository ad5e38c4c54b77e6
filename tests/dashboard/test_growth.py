"""What grows out of few bytes, and charts that no chart of ours is like, through the browser's doors."""

import json

import pytest

from dashboard import reports, state
from projlens_core.report import drawing
from projlens_core.report.bundle import pack, unpack
from tests.core.test_bundle import EXHIBIT, GROWING, repacked, some_record
from tests.core.test_config_sizes import HOSTILE as SIZES
from tests.core.test_config_sizes import hostile as with_config
from tests.core.test_image_growth import HOSTILE as IMAGES
from tests.core.test_inert import HOSTILE as CHARTS
from tests.core.test_inert import bundle_with, changed, heatmap, one_of_rates
from tests.dashboard.conftest import texts
from tests.dashboard.test_bad_inputs import boxes, is_one_sentence

NAMED_CHARTS = list(CHARTS)[:8]  # those of the issue
NAMED_SIZES = list(SIZES)[:2]


@pytest.fixture(autouse=True)
def no_vega(monkeypatch: pytest.MonkeyPatch):
    """What the browser would run is tested there; putting it together takes seconds."""
    monkeypatch.setattr(drawing, "javascript", lambda: "")


def upload(app, data: bytes):
    return app.file_uploader[0].set_value(("case.zip", data, "application/zip")).run()


def test_hostile_charts_and_growing_bundles_are_refused_in_a_sentence_each(open_page):
    app = open_page("report", {})
    for name in NAMED_CHARTS:
        path, value = CHARTS[name]
        spec = one_of_rates() if path.startswith("rates:") else heatmap()
        upload(app, bundle_with(changed(spec, path.removeprefix("rates:"), value)))
        assert not app.exception
        assert "only charts like those that ProjLens makes are opened." in texts(app), name
    for name in ("millions of objects", "a million places that are wrong"):
        upload(app, repacked({EXHIBIT: GROWING[name]()}))
        assert not app.exception
        assert is_one_sentence(app.session_state[state.BUNDLE_REFUSED]), name
    upload(app, pack(some_record()))
    assert "Targeted refusal" in texts(app)


def test_a_strangers_chart_stays_within_its_plot_on_the_page(open_page):
    app = open_page("report", {})
    upload(app, pack(some_record()))
    [chart] = app.get("vega_lite_chart")
    assert [layer["mark"]["clip"] for layer in json.loads(chart.proto.spec)["layer"]] == [True, True]


def test_a_report_of_a_strangers_bundle_is_drawn_apart(monkeypatch: pytest.MonkeyPatch):
    record = unpack(pack(some_record()))
    monkeypatch.setattr(drawing, "svg", lambda _: pytest.fail("it was drawn in this process"))
    assert b"<svg" in reports.html(record)


def test_a_report_says_what_was_not_drawn_and_why(monkeypatch: pytest.MonkeyPatch):
    record = unpack(pack(some_record()))
    monkeypatch.setattr(drawing, "MEMORY", 2**20)  # the engine does not even begin
    html = reports.html(record).decode()
    assert "<p>Rates Not drawn: A chart of the bundle " in html
    assert "Targeted refusal" in html


def test_images_that_grow_are_refused_on_the_activation_page(open_page):
    app = open_page("activation")
    names = ["a progressive JPEG of 1,000 scans", "a GIF of 110,000 comments", "a PNG of 110,000 empty pieces"]
    files = [(f"{number}.png", IMAGES[name][0](), "image/png") for number, name in enumerate(names)]
    app.file_uploader[0].set_value(files).run()
    said = boxes(app)
    assert len(said) == 3
    assert all(map(is_one_sentence, said))
    assert "JPEG of 1," in said[0]


@pytest.mark.parametrize("name", NAMED_SIZES)
def test_a_config_that_grows_is_one_sentence_on_the_activation_page(open_page, models, tmp_path, name: str):
    base = with_config(models.base, tmp_path / "model", *SIZES[name])
    app = open_page("activation", models.case.to_params() | {"base": str(base)})
    [said] = boxes(app)
    assert said.startswith("The config of ")
    assert is_one_sentence(said)
