"""The README's images: every page as it is today, and the Demo page's slider as a short animation.

    python -m benchmarks.images [NAME …]   # docs/images/NAME.png, docs/images/demo.webp for "animation"; by default all

The dashboard is started, shown in Chromium on the tiny case, whose answers take no time, and ended.
"""

import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import Browser, Page

from benchmarks.browser import NO_CHROMIUM, Server, browsing, chromium, serving
from benchmarks.comparison import ROOT

OUT = ROOT / "docs" / "images"
CASE = "?base=zoo%3Atiny-base&suspect=zoo%3Atiny-injection&control=zoo%3Atiny-control"
WIDTH, HEIGHT = 1440, 1150  # px
SHOWN: dict[str, tuple[str, ...]] = {  # page → the buttons that are pressed before it is shown
    "case": (),
    "spectrum": (),
    "activation": (),
    "lens": (),
    "neurons": (),
    "separability": (),
    "response": ("Ask", "Run"),
    "lowrank": ("Fill the grid",),
    "robustness": ("Try the changes",),
    "report": (),
}
ANIMATION = "animation"
STEPS, SHOWN_MS, LAST_MS, SMALL = 20, 220, 1800, 960  # of the slider; a frame, the last; px of its width
SIDEBAR = 280  # px; it is not what moves
WAIT_MS = 300_000  # for all that a page computes
SETTLED_MS = 700  # after which charts are drawn


def main(names: Sequence[str]) -> int:
    """Make the images called `names`, all if there are none; the exit status."""
    wanted = list(names) or [*SHOWN, ANIMATION]
    executable = chromium()
    if executable is None or not set(wanted) <= {*SHOWN, ANIMATION}:
        sys.stderr.write(f"{NO_CHROMIUM if executable is None else f'There are {list(SHOWN)} and {ANIMATION!r}.'}\n")
        return 1
    with (
        TemporaryDirectory() as folder,
        serving(dict(os.environ), Path(folder) / "log") as server,
        browsing(executable) as browser,
    ):
        for name in wanted:
            made = _animated(browser, server) if name == ANIMATION else _shot(browser, server, name)
            sys.stdout.write(f"{made.relative_to(ROOT)}: {made.stat().st_size / 1e6:.2f} MB\n")
    return 0


def _shot(browser: Browser, server: Server, name: str) -> Path:
    page = _opened(browser, server, name, HEIGHT)
    for button in SHOWN[name]:
        page.get_by_role("button", name=button).first.click()
        _settled(page)
    image = _seen(page)
    page.close()
    path = OUT / f"{name}.png"
    image.save(path, optimize=True)
    return path


def _animated(browser: Browser, server: Server) -> Path:
    """The slider from none to full; all answers are asked for before, so that each frame shows one."""
    page = _opened(browser, server, "demo", 900)
    page.get_by_role("button", name="1 · None").click()
    _settled(page)
    frames = [_seen(page)]
    for _ in range(STEPS):
        page.keyboard.press("ArrowRight")
        _settled(page)
        frames.append(_seen(page))
    page.close()
    small = [_scaled(frame.crop((SIDEBAR, 0, frame.width, frame.height))) for frame in frames]
    path = OUT / "demo.webp"
    shown = [LAST_MS, *[SHOWN_MS] * (STEPS - 1), LAST_MS]
    small[0].save(path, save_all=True, append_images=small[1:], duration=shown, loop=0, quality=72, method=6)
    return path


def _opened(browser: Browser, server: Server, name: str, height: int) -> Page:
    page = browser.new_page(viewport={"width": WIDTH, "height": height})
    page.set_default_timeout(WAIT_MS)
    page.goto(f"{server.url}/{name}{CASE}")
    page.get_by_role("heading", level=1).wait_for()
    _settled(page)
    return page


def _settled(page: Page) -> None:
    """The script has ended and nothing is being loaded, and so still after the browser had time to draw."""
    for _ in range(2):
        page.wait_for_timeout(SETTLED_MS)
        page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]').wait_for()
        page.wait_for_function("document.querySelector('[data-testid=stSkeleton]') === null")


def _seen(page: Page) -> Image.Image:
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def _scaled(image: Image.Image) -> Image.Image:
    return image.resize((SMALL, round(image.height * SMALL / image.width)), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
