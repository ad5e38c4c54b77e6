"""The real dashboard in a real browser: Streamlit's server on a free loopback port, headless Chromium before it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from benchmarks.browser import NO_CHROMIUM, Server, browsing, chromium, serving
from benchmarks.comparison import ROOT

WAIT_MS = 60_000  # for anything on a page: on 2 cores the first tower pass and the first answer take their time


@dataclass
class Traffic:
    """What a page did behind the scenes: errors in its console, and the addresses it asked for."""

    errors: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The dashboard as `make run` starts it, for all browser tests; ended with the session.

    Its cache is kept between sessions under .cache, so that the language model is converted once and not each time.
    """
    environment = {"PROJLENS_CACHE": str(ROOT / ".cache" / "browser"), **os.environ}
    with serving(environment, tmp_path_factory.mktemp("server") / "streamlit.log") as running:
        yield running


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium. Without one its tests are skipped, unless $PROJLENS_BROWSER says that it is required."""
    executable = chromium()
    if executable is None:
        if os.environ.get("PROJLENS_BROWSER") == "required":
            pytest.fail(NO_CHROMIUM)
        pytest.skip(NO_CHROMIUM)
    expect.set_options(timeout=WAIT_MS)
    with browsing(executable) as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A fresh page of 1440 × 900 px with no history, cookies or downloads of another test."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(WAIT_MS)
    yield context.new_page()
    context.close()


@pytest.fixture
def traffic(page: Page) -> Traffic:
    """What `page` does from here on; ask for it in a test before the page is opened."""
    seen = Traffic()

    def note(message: ConsoleMessage) -> None:
        if message.type == "error":
            seen.errors.append(f"{message.text} ({message.location['url']})")

    page.on("console", note)
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.on("request", lambda request: seen.addresses.append(request.url))
    return seen
