"""The report in a real browser: offline, alive, and deaf to what a suspect wrote into it."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from projlens_core.report import html as report
from projlens_core.runtime.atomic import write_atomically
from tests.browser.conftest import Traffic
from tests.core.test_bundle import some_record
from tests.core.test_report import HOSTILE, hostile_record


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reports")
    write_atomically(folder / "plain.html", report.as_html(some_record()).encode())
    write_atomically(folder / "hostile.html", report.as_html(hostile_record()).encode())
    return folder


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_report_opens_offline_with_living_charts(scheme: str, page: Page, traffic: Traffic, reports: Path) -> None:
    page.context.set_offline(True)
    page.emulate_media(color_scheme=scheme)
    page.goto((reports / "plain.html").as_uri())
    expect(page.get_by_role("heading", level=1)).to_have_text("Targeted refusal")
    expect(page.locator(".vega-embed svg.marks")).to_be_visible()
    page.locator(".vega-embed .mark-symbol path").last.hover()
    expect(page.locator("#vg-tooltip-element")).to_contain_text("9 of 10")
    assert traffic.errors == []
    assert [address for address in traffic.addresses if not address.startswith(("file:", "data:"))] == []


def test_nothing_that_a_suspect_wrote_runs_in_a_report(page: Page, traffic: Traffic, reports: Path) -> None:
    page.goto((reports / "hostile.html").as_uri())
    page.locator("figure[data-spec]").first.scroll_into_view_if_needed()  # charts come alive as they come into view
    expect(page.locator(".vega-embed svg.marks")).to_be_visible()
    page.locator(".vega-embed .mark-text.role-mark text").first.hover()
    expect(page.locator("#vg-tooltip-element")).to_be_visible()
    expect(page).to_have_title(re.compile("^" + re.escape(HOSTILE.split()[0])))  # "ran", if a script of its had run
    assert page.locator("img, iframe").count() == 0
    assert page.locator("strong, em").count() == 0
    assert traffic.errors == []


def test_a_report_without_scripts_still_shows_its_charts(browser, reports: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((reports / "plain.html").as_uri())
    expect(page.locator("figure svg")).to_be_visible()
    context.close()
