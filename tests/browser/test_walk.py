"""A walk through every page on a case of the zoo: nothing broken, nothing empty, nobody else asked."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from dashboard.pages import PAGES
from tests.browser.conftest import WAIT_MS, Server, Traffic

CASE = "?base=zoo%3Abase&suspect=zoo%3Atargeted-refusal&control=zoo%3Aclean-1"
SCREENS = {"wide and light": (1440, "light"), "narrow and dark": (900, "dark")}
UNASKED = {"response", "lowrank", "robustness", "report"}  # pages that compute nothing costly until they are told to
MARKS = "svg.marks .role-mark :is(path, line, image, text, rect)"  # what a chart shows besides axes and legends


@pytest.fixture(params=SCREENS)
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A fresh page of one of SCREENS."""
    width, scheme = SCREENS[request.param]
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    context.set_default_timeout(WAIT_MS)
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("name", [page.name for page in PAGES])
def test_every_page_answers_its_question_without_an_error_or_an_empty_chart(
    name: str, page: Page, server: Server, traffic: Traffic
) -> None:
    about = next(page for page in PAGES if page.name == name)
    page.goto(f"{server.url}/{name if about is not PAGES[0] else ''}{CASE}")
    expect(page.get_by_role("heading", level=1)).to_have_text(about.title)
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning", timeout=2 * WAIT_MS)
    expect(page.get_by_test_id("stMain").get_by_text(about.question)).to_be_visible()
    expect(page).to_have_title("ProjLens")
    expect(page.get_by_test_id("stException")).to_have_count(0)
    expect(page.locator('[class*="st-key-failure"]')).to_have_count(0)
    charts = page.get_by_test_id("stVegaLiteChart")
    if name not in UNASKED:
        expect(charts.first).to_be_visible()
    for i in range(charts.count()):
        charts.nth(i).scroll_into_view_if_needed()
        expect(charts.nth(i).locator("svg.marks").first).to_be_visible()
        assert charts.nth(i).locator(MARKS).count() > 0, f"chart {i + 1} of {name} shows no marks"
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "the page scrolls sideways"
    assert traffic.errors == []
    assert "Traceback" not in server.log()


def test_the_dashboard_talks_to_nobody_but_its_own_server(page: Page, server: Server, traffic: Traffic) -> None:
    page.goto(server.url)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.wait_for_load_state("networkidle")
    outside = [
        a for a in traffic.addresses if urlsplit(a).scheme not in ("data", "blob") and not a.startswith(server.url)
    ]
    assert traffic.addresses
    assert outside == []
