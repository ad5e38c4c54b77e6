"""Job of the whole dashboard: what a person at the browser waits for. There is no reference to compare it with."""

import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page

from benchmarks import inputs
from benchmarks.browser import (
    NO_CHROMIUM,
    READY_MS,
    Ready,
    Server,
    browsing,
    chromium,
    serving,
    settled_at,
    step_slider,
    switch,
)
from benchmarks.comparison import fresh_environment
from benchmarks.report import MEMORY, Figure, NoFigures, Report, Target
from benchmarks.setting import uploads
from benchmarks.worker import peak_memory

NAME, TITLE = "dashboard", "dashboard in Chromium (zoo)"
CHARTS = "[data-testid=stVegaLiteChart] :is(canvas, svg)"
PAGES = {
    "Case": Ready("Case", CHARTS),
    "Spectrum": Ready("Spectrum", CHARTS),
    "Activation": Ready("Activation", CHARTS),
    "Response": Ready("Response", "[data-testid=stImage] img"),
}
START, UPLOAD, SWITCH, SLIDER = "start → first page", "upload → heatmaps", "switch to {}", "slider on Spectrum"
SERVER_MEMORY = f"{MEMORY}, server"
TARGETS = {START: Target(at_most=6), UPLOAD: Target(at_most=1), SLIDER: Target(at_most=0.2)} | {
    SWITCH.format(page): Target(at_most=0.3) for page in PAGES
}
STARTS, ROUNDS = 3, 5
NOTES = (
    "A page has settled when its heading stands, its charts or images are drawn, the script is idle and nothing "
    "on screen changes any more; times end with the last change.",
    "Start: from the server's process to the settled Case page, the browser being open and the demo model converted.",
    "Upload and switches: warm, every page visited before; the upload is a new image each time, and suspect and "
    "control are both analysed.",
    "Slider: one step by key, to the last change of the charts.",
)


def run(folder: Path, quick: bool = False) -> Report:
    """Start the server, open, switch and upload, and measure each; NoFigures without a Chromium."""
    executable = chromium()
    if executable is None:
        raise NoFigures(NO_CHROMIUM)
    inputs.uploads(folder, quick)
    found: dict[str, list[float]] = {}
    peaks: list[int] = []
    with browsing(executable) as browser:
        for _ in range(0 if quick else STARTS - 1):
            with _opened(browser, folder, found):
                pass
        with _opened(browser, folder, found) as (server, page):
            for _ in range(2):  # the first visits load the tower and analyse the samples, the second settle all caches
                _round(page, {})
            for _ in range(1 if quick else ROUNDS):
                _round(page, found)
            _slide(page, 1 if quick else ROUNDS, found)
            _upload(page, uploads(folder), found)
            peaks.append(peak_memory(server.process))
    return _report(found, max(peaks), {} if quick else TARGETS)


@contextmanager
def _opened(browser: Browser, folder: Path, found: dict[str, list[float]]) -> Iterator[tuple[Server, Page]]:
    """A fresh server and its first page; notes how long that took."""
    with fresh_environment() as environment, serving(environment, folder / "server.log") as server:
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        context.set_default_timeout(READY_MS)
        page = context.new_page()
        page.goto(f"{server.url}/case", wait_until="commit")
        found.setdefault(START, []).append(settled_at(page, PAGES["Case"]) - server.started)
        yield server, page
        context.close()


def _round(page: Page, found: dict[str, list[float]]) -> None:
    """From Case through the other pages and back to it."""
    for name in ("Spectrum", "Activation", "Response", "Case"):
        found.setdefault(SWITCH.format(name), []).append(switch(page, name, PAGES[name]))


def _slide(page: Page, times: int, found: dict[str, list[float]]) -> None:
    """Show one more singular value, so many times; the first is not counted."""
    switch(page, "Spectrum", PAGES["Spectrum"])
    for number in range(times + 1):
        seconds = step_slider(page, PAGES["Spectrum"])
        if number:
            found.setdefault(SLIDER, []).append(seconds)


def _upload(page: Page, images: list[Path], found: dict[str, list[float]]) -> None:
    """Upload the images one after the other; the first is not counted."""
    switch(page, "Activation", PAGES["Activation"])
    for number, image in enumerate(images):
        start = time.time()
        page.locator("input[type=file]").set_input_files(image)
        seconds = settled_at(page, PAGES["Activation"], chosen=image.name) - start
        if number:
            found.setdefault(UPLOAD, []).append(seconds)


def _report(found: dict[str, list[float]], peak: int, targets: Mapping[str, Target]) -> Report:
    times = [Figure(name, statistics.median(s), None, targets.get(name, Target())) for name, s in found.items()]
    return Report(
        name=NAME,
        title=TITLE,
        figures=(*times, Figure(SERVER_MEMORY, peak)),
        notes=NOTES,
        timings={name: tuple(seconds) for name, seconds in found.items()},
    )
