"""The real dashboard in a real browser: Streamlit's server on a free loopback port, headless Chromium before it."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 90
WAIT_MS = 60_000  # for anything on a page: on 2 cores the first tower pass and the first answer take their time
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass(frozen=True)
class Server:
    """A running dashboard: its address and the file its output goes to."""

    url: str
    log_file: Path

    def log(self) -> str:
        """All it has written so far."""
        return self.log_file.read_text(errors="replace")


@dataclass
class Traffic:
    """What a page did behind the scenes: errors in its console, and the addresses it asked for."""

    errors: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/_stcore/health", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The dashboard as `make run` starts it, for all browser tests; ended with the session.

    Its cache is kept between sessions under .cache, so that the language model is converted once and not each time.
    """
    port = _free_port()
    running = Server(f"http://127.0.0.1:{port}", tmp_path_factory.mktemp("server") / "streamlit.log")
    command = [sys.executable, "-m", "streamlit", "run", "dashboard/app.py", "--server.headless", "true"]
    environment = {"PROJLENS_CACHE": str(ROOT / ".cache" / "browser"), **os.environ}
    with running.log_file.open("wb") as log:
        process = subprocess.Popen(
            [*command, "--server.port", str(port)], cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _healthy(running.url):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"The dashboard did not start:\n{running.log()}")
            time.sleep(0.2)
        yield running
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium. Without one its tests are skipped, unless $PROJLENS_BROWSER says that it is required."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        reason = "There is no Chromium on this machine; install it, on Debian with: apt-get install chromium"
        if os.environ.get("PROJLENS_BROWSER") == "required":
            pytest.fail(reason)
        pytest.skip(reason)
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_FLAGS)
        yield chromium
        chromium.close()


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
        # Opened at one of its pages, Streamlit looks for its server below that page first, and is told 404.
        expected = "404" in message.text and "/_stcore/" in message.location["url"]
        if message.type == "error" and not expected:
            seen.errors.append(f"{message.text} ({message.location['url']})")

    page.on("console", note)
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.on("request", lambda request: seen.addresses.append(request.url))
    return seen
