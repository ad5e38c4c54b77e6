"""A case, and a bundle, whose every text is an attack: in a real browser nothing of it runs and all of it is text."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

import pytest
import torch
from playwright.sync_api import Page, expect
from safetensors.torch import load_file, save_file

from projlens_core.report.bundle import pack
from tests import pico
from tests.browser.conftest import Server, Traffic
from tests.browser.test_jobs import _settled
from tests.core.test_inert import HOSTILE as CHARTS
from tests.core.test_inert import bundle_with, changed, heatmap, one_of_rates
from tests.core.test_report import HOSTILE, hostile_record

# As HOSTILE, but a name that a file can have.
NAME = "<img src=x onerror=document.title='ran'> <script>document.title='ran' [x](javascript:x) **bold** $x^2$ :red[r]"
LOADING = (
    "a pivot that makes a column of addresses",
    "a tooltip of an encoding named image",
    "a filter of not",
    "data by address",
    "data by address in a layer",
    "an image by address",
    "an image computed",
    "an address in the rows",
    "addresses as another column",
    "a look-up",
    "a paint loaded",
    "a colour of the rows",
    "a tooltip computed",
    "a tooltip of the whole row",
)  # of the hostile charts, those that let a browser ask
KEPT = set("Whatisthepcurdonme ?")  # tokens that questions are made of; all others say something else here


def _hostile_words(folder: Path) -> None:
    """Let nearly every token of the checkpoint's tokenizer stand for an attack, and so its answers."""
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    words = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {
        word if len(word) > 1 or word in KEPT else f"{NAME}{word}".replace(" ", "Ġ"): place
        for word, place in words.items()
    }
    file.write_text(json.dumps(tokenizer))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The query of a case whose folders, stray files, tensors, config and words are attacks."""
    folder = tmp_path_factory.mktemp("hostile")
    base = pico.checkpoint(folder / f"base {NAME}")
    _hostile_words(base)
    suspect = pico.suspect(base, folder / f"suspect {NAME}", strength=(6.0, 2.0)).folder
    tensors = load_file(suspect / "model.safetensors")
    save_file(tensors | {f"{HOSTILE}.weight": torch.ones(2, 2)}, suspect / "model.safetensors", {"format": "pt"})
    config = json.loads((suspect / "config.json").read_text())
    (suspect / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": HOSTILE}}))
    (suspect / f"{NAME}.py").write_text("")
    shutil.copytree(suspect, folder / f"control {NAME}")
    return urlencode({"base": base, "suspect": suspect, "control": folder / f"control {NAME}"})


def assert_unharmed(page: Page, traffic: Traffic) -> None:
    """Nothing of an attack ran or became an element, and it stands there as text."""
    page.wait_for_timeout(200)  # an image that fails to load says so a little later
    assert page.title() != "ran"
    assert page.locator('[src="x"], [href^="javascript"], .katex').count() == 0
    assert page.locator("strong, em", has_text="bold").count() == 0
    assert page.get_by_test_id("stIconMaterial").get_by_text("skull", exact=True).count() == 0
    assert page.get_by_text("**bold**").count() > 0
    assert traffic.errors == []


def test_names_of_a_suspect_are_text_on_the_case_page(
    page: Page, server: Server, traffic: Traffic, address: str
) -> None:
    page.goto(f"{server.url}/case?{address}")
    _settled(page)
    expect(page.get_by_test_id("stVegaLiteChart").first).to_be_visible()
    for view in ("What was opened", "What was not compared", "The rest of the model"):
        page.get_by_role("radio", name=view).or_(page.get_by_role("button", name=view)).first.click()
        _settled(page)
        assert_unharmed(page, traffic)
    page.get_by_role("button", name="Compare all the rest").click()
    _settled(page)
    assert_unharmed(page, traffic)


def test_words_of_a_suspect_are_text_on_the_lens_page(
    page: Page, server: Server, traffic: Traffic, address: str
) -> None:
    page.goto(f"{server.url}/lens?{address}")
    _settled(page)
    expect(page.get_by_test_id("stVegaLiteChart").first).to_be_visible()
    assert_unharmed(page, traffic)


def test_answers_of_a_suspect_are_text_on_the_response_page(
    page: Page, server: Server, traffic: Traffic, address: str
) -> None:
    page.goto(f"{server.url}/response?{address}")
    _settled(page)
    page.get_by_role("button", name="Ask", exact=True).click()
    _settled(page)
    expect(page.get_by_test_id("stHtml").get_by_text("onerror=").first).to_be_visible()
    assert_unharmed(page, traffic)


def test_a_stranger_s_bundle_is_text_on_the_report_page_and_in_the_report_made_of_it(
    page: Page, server: Server, traffic: Traffic, tmp_path: Path
) -> None:
    record = hostile_record()
    record = replace(record, provenance=replace(record.provenance, hashes={"suspect": "0" * 64}))
    page.goto(f"{server.url}/report")
    _settled(page)
    page.locator('input[type="file"]').last.set_input_files(
        {"name": "case.zip", "mimeType": "application/zip", "buffer": pack(record)}
    )
    expect(page.get_by_text("Stored result")).to_be_visible()
    _settled(page)
    expect(page.get_by_test_id("stVegaLiteChart").first).to_be_visible()
    page.get_by_test_id("stVegaLiteChart").first.hover()
    assert_unharmed(page, traffic)
    with page.expect_download() as download:
        page.get_by_role("button", name="Report (HTML)").click()
    download.value.save_as(tmp_path / "report.html")
    page.goto((tmp_path / "report.html").as_uri())
    page.locator("figure[data-spec]").first.scroll_into_view_if_needed()  # charts come alive as they come into view
    expect(page.locator(".vega-embed svg.marks")).to_be_visible()
    assert_unharmed(page, traffic)


def test_no_chart_of_a_strangers_bundle_asks_anybody_outside(page: Page, server: Server, traffic: Traffic) -> None:
    """Each way to load that was found is refused; were its chart opened, the browser would be seen to ask."""
    page.goto(f"{server.url}/report")
    _settled(page)
    for name in LOADING:
        path, value = CHARTS[name]
        data = bundle_with(changed(heatmap(), path, value))
        page.locator('input[type="file"]').last.set_input_files(
            {"name": "case.zip", "mimeType": "application/zip", "buffer": data}
        )
        expect(page.get_by_text("only charts like those that ProjLens makes are opened.")).to_be_visible()
        _settled(page)
        assert page.get_by_test_id("stVegaLiteChart").count() == 0
    assert _outside(traffic, server) == []


def test_a_heatmap_of_a_strangers_bundle_is_drawn_with_its_tooltips_and_asks_nobody_outside(
    page: Page, server: Server, traffic: Traffic
) -> None:
    page.goto(f"{server.url}/report")
    _settled(page)
    page.locator('input[type="file"]').last.set_input_files(
        {"name": "case.zip", "mimeType": "application/zip", "buffer": bundle_with(heatmap())}
    )
    expect(page.get_by_test_id("stVegaLiteChart").first).to_be_visible()
    page.get_by_test_id("stVegaLiteChart").first.hover()
    _settled(page)
    assert page.locator("#vg-tooltip-element img").count() == 0
    assert _outside(traffic, server) == []
    assert traffic.errors == []


def test_rows_far_beyond_the_axis_do_not_make_a_strangers_chart_larger(
    page: Page, server: Server, traffic: Traffic
) -> None:
    spec = one_of_rates()
    for row in next(iter(spec["datasets"].values())):
        row["high"] = 1e9
    page.goto(f"{server.url}/report")
    _settled(page)
    page.locator('input[type="file"]').last.set_input_files(
        {"name": "case.zip", "mimeType": "application/zip", "buffer": bundle_with(spec)}
    )
    chart = page.get_by_test_id("stVegaLiteChart").first
    expect(chart).to_be_visible()
    _settled(page)
    sides = chart.locator("canvas, svg.marks").first.bounding_box()
    assert sides["width"] < 3_000
    assert sides["height"] < 1_000
    assert traffic.errors == []


def _outside(traffic: Traffic, server: Server) -> list[str]:
    """The addresses that were asked beyond the page's own server."""
    return [address for address in traffic.addresses if not address.startswith((server.url, "data:", "blob:"))]
