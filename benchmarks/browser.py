"""A real client: the dashboard served as `make run` does, a headless Chromium before it, and when a page is ready."""

import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Error, Page, sync_playwright

from benchmarks.comparison import ROOT
from benchmarks.report import NoFigures

START_SECONDS = 120
READY_MS = 120_000  # the longest wait for a page; the first one that runs the vision tower takes its time
QUIET_MS = 300  # without a change for so long, a page has settled; not part of any time
NO_CHROMIUM = "There is no Chromium on this machine; install it, on Debian with: apt-get install chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# Resolves with the moment, in ms since 1970, of the page's last change before it was ready and stayed unchanged. What
# lies inside of a canvas is never drawn: tables keep a copy for screen readers there, filled in by a timer.
_SETTLED = """
({link, heading, image, chosen, quiet, limit}) => new Promise((resolve, reject) => {
  const begin = performance.now();
  let changed = begin;
  const element = node => node.nodeType === 1 ? node : node.parentElement;
  const seen = change => !element(change.target)?.closest("canvas")
    || change.type === "attributes" && change.target.tagName === "CANVAS";
  const watcher = new MutationObserver(changes => { if (changes.some(seen)) changed = performance.now(); });
  watcher.observe(document, {subtree: true, childList: true, attributes: true, characterData: true});
  const shown = element => element.tagName === "IMG" ? element.complete && element.naturalWidth > 0 : true;
  const ready = () => {
    const images = [...document.querySelectorAll(image)];
    const inputs = [...document.querySelectorAll("input")];
    return document.querySelector("[data-testid=stApp]")?.dataset.testScriptState === "notRunning"
      && document.querySelector("h1")?.textContent.trim() === heading
      && images.length > 0 && images.every(shown)
      && (!chosen || inputs.some(input => input.value === chosen));
  };
  const poll = () => {
    const now = performance.now();
    if (ready() && now - changed >= quiet) {
      watcher.disconnect();
      resolve({begin: performance.timeOrigin + begin, end: performance.timeOrigin + changed});
    } else if (now - begin > limit) {
      watcher.disconnect();
      reject(new Error(`${heading} was not ready within ${limit} ms`));
    } else {
      setTimeout(poll, 20);
    }
  };
  if (link) {
    const links = [...document.querySelectorAll("[data-testid=stPageLink-NavLink]")];
    links.find(a => a.textContent.trim().endsWith(link)).click();
  }
  setTimeout(poll, 20);
})
"""


@dataclass(frozen=True)
class Ready:
    """When a page counts as ready: its heading stands, its images (a CSS selector) are drawn, the script is idle."""

    heading: str
    image: str


@dataclass(frozen=True)
class Server:
    """A running dashboard; started is the time, in seconds since 1970, at which its process was."""

    url: str
    process: int
    started: float
    log_file: Path

    def log(self) -> str:
        """All it has written so far."""
        return self.log_file.read_text(errors="replace")


def chromium() -> str | None:
    """The system's Chromium, or None."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for path in map(shutil.which, names) if path), None)


@contextmanager
def browsing(executable: str) -> Iterator[Browser]:
    """A headless browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def serving(environment: Mapping[str, str], log_file: Path) -> Iterator[Server]:
    """The dashboard on a free loopback port, answering; ended with the block. NoFigures if it does not start."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "dashboard/app.py", "--server.headless", "true"]
    started = time.time()
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [*command, "--server.port", str(port)], cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
    server = Server(f"http://127.0.0.1:{port}", process.pid, started, log_file)
    try:
        while not _healthy(server.url):
            if process.poll() is not None or time.time() > started + START_SECONDS:
                raise NoFigures(f"The dashboard did not start.\n{server.log()}")
            time.sleep(0.05)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def settled_at(page: Page, ready: Ready, chosen: str = "") -> float:
    """Wait until the page has settled, with `chosen`, if given, in one of its inputs; seconds since 1970."""
    return _settled(page, ready, chosen=chosen)["end"] / 1000


def switch(page: Page, name: str, ready: Ready) -> float:
    """Click the navigation's link to page `name`; seconds from the click until that page had settled."""
    found = _settled(page, ready, link=name)
    return (found["end"] - found["begin"]) / 1000


def step_slider(page: Page, ready: Ready) -> float:
    """Move the page's first slider by one step; seconds from the key until the page had settled."""
    page.get_by_role("slider").first.focus()
    start = time.time()
    page.keyboard.press("ArrowRight")
    return settled_at(page, ready) - start


def _settled(page: Page, ready: Ready, link: str = "", chosen: str = "") -> dict[str, float]:
    wanted = {"link": link, "heading": ready.heading, "image": ready.image, "chosen": chosen}
    try:
        return page.evaluate(_SETTLED, {**wanted, "quiet": QUIET_MS, "limit": READY_MS})
    except Error as error:
        raise NoFigures(f"The page {ready.heading} did not settle: {error.message}") from error


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/_stcore/health", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False
