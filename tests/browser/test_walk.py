"""A walk through every page on a case of the zoo: nothing broken, empty or cut, nobody shut out, nobody else asked."""

import re
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from dashboard.pages import SUMMARY as FIRST
from dashboard.pages import sections
from tests.browser.conftest import WAIT_MS, Server, Traffic

CASE = "?base=zoo%3Abase&suspect=zoo%3Atargeted-refusal&control=zoo%3Aclean-1"
SCREENS = [(1440, "light"), (1440, "dark"), (900, "dark"), (390, "light")]  # width in px and colour scheme
HEARD = {"resultTypes": ["violations"]}  # axe's options: all of its rules, or those that a colour scheme decides
SEEN = HEARD | {"runOnly": ["color-contrast", "link-in-text-block"]}
BARRIERS = {(1440, "light"): HEARD, (900, "dark"): SEEN, (390, "light"): HEARD}
BACKGROUND = {"light": "rgb(255, 255, 255)", "dark": "rgb(16, 20, 24)"}  # of dashboard/.streamlit/config.toml
PAGES = [page for shown in sections().values() for page in shown]
UNASKED = {
    "verdict",
    "response",
    "lowrank",
    "robustness",
    "repair",
    "report",
    "summary",
    "screen",
}  # pages that compute nothing costly until they are told to
MARKS = "svg.marks .role-mark :is(path, line, image, text, rect)"  # what a chart shows besides axes and legends


@pytest.mark.parametrize("name", [page.name for page in PAGES])
def test_every_page_answers_its_question_without_an_error_or_an_empty_chart(
    name: str, page: Page, server: Server, traffic: Traffic
) -> None:
    about = next(page for page in PAGES if page.name == name)
    page.goto(f"{server.url}/{name if about is not FIRST else ''}{CASE}")
    expect(page.get_by_role("heading", level=1)).to_have_text(about.title)
    patience = (6 if name == "demo" else 2) * WAIT_MS  # which asks two models at every dose as it opens
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning", timeout=patience)
    expect(page.get_by_test_id("stMain").get_by_text(about.question)).to_be_visible()
    expect(page).to_have_title("ProjLens")
    if name not in UNASKED:
        expect(page.get_by_test_id("stVegaLiteChart").first).to_be_visible()
    for width, scheme in SCREENS:  # on one session: what was computed is only drawn anew
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 900})
        expect(page.get_by_test_id("stApp")).to_have_css("background-color", BACKGROUND[scheme])
        _nothing_is_broken(page, f"{name} at {width} px, {scheme}")
        if rules := BARRIERS.get((width, scheme)):
            assert _barriers(page, rules) == [], f"{name} at {width} px, {scheme}"
    assert traffic.errors == []
    assert "Traceback" not in server.log()


def _nothing_is_broken(page: Page, where: str) -> None:
    """No error, no empty chart, no title that is cut off, nothing that has to be scrolled sideways."""
    expect(page.get_by_test_id("stException")).to_have_count(0)
    expect(page.locator('[class*="st-key-failure"]')).to_have_count(0)
    charts = page.locator('[data-testid="stVegaLiteChart"]:not(details:not([open]) *)')  # not in what is folded away
    for i in range(charts.count()):
        charts.nth(i).scroll_into_view_if_needed()
        expect(charts.nth(i).locator("svg.marks").first).to_be_visible()
        expect(charts.nth(i).locator(MARKS), f"chart {i + 1} of {where} shows no marks").not_to_have_count(0)
    titles = page.locator("svg.marks .role-title")  # a chart is drawn anew some time after its window has changed
    expect(titles.filter(has_text=re.compile("…$")), f"titles of {where} are cut off").to_have_count(0)
    wide = page.get_by_test_id("stMain").evaluate("e => e.scrollWidth - e.clientWidth")
    assert wide <= 1, f"{where} scrolls sideways"


def _barriers(page: Page, rules: dict) -> list[tuple[str, str, str]]:
    """What keeps people from using the page: axe's serious and critical findings, each with its first element."""
    found = Axe().run(page, options=rules).response["violations"]
    return [
        (each["id"], each["help"], each["nodes"][0]["html"])
        for each in found
        if each["impact"] in ("serious", "critical")
    ]


def test_what_opens_over_a_page_keeps_nobody_out(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/case{CASE}")
    expect(page.get_by_test_id("stVegaLiteChart").first).to_be_visible()
    for name in ("Cases", "Link", "Glossary"):
        page.get_by_role("button", name=name, exact=True).click()
        expect(page.get_by_test_id("stPopoverBody").get_by_text(re.compile(r"\w")).first).to_be_visible()
        assert _barriers(page, HEARD) == [], name
        page.keyboard.press("Escape")
        expect(page.get_by_test_id("stPopoverBody")).to_have_count(0)


def test_the_dashboard_talks_to_nobody_but_its_own_server(page: Page, server: Server, traffic: Traffic) -> None:
    page.goto(server.url)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.wait_for_load_state("networkidle")
    outside = [
        a for a in traffic.addresses if urlsplit(a).scheme not in ("data", "blob") and not a.startswith(server.url)
    ]
    assert traffic.addresses
    assert outside == []
