from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Server, Traffic

PAGES = {"Case": "", "Activation": "activation", "Response": "response"}


@pytest.mark.parametrize("name", PAGES)
def test_every_page_opens_with_its_title_and_without_an_error(
    name: str, page: Page, server: Server, traffic: Traffic
) -> None:
    page.goto(f"{server.url}/{PAGES[name]}")
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page).to_have_title("ProjLens")
    expect(page.get_by_test_id("stException")).to_have_count(0)
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
