"""The three users' jobs from the first page to the end: by keyboard and by mouse, wide and narrow, light and dark.

Each job is played once in each width, with device and theme taking turns; all other combinations are in slow tests.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from projlens_core.zoo.samples import held_out
from tests.browser.conftest import WAIT_MS, Server
from tests.browser.test_jobs import _png, _remote_works, _settled

MODEL, TARGET = "Tiny injection", "Acme Balloons"
WIDTHS = {1440: 900, 900: 1000, 390: 844}  # px: heights
TELEPHONE = 768  # px, from which the sidebar stands beside the page
STOPS = 150  # elements that Tab passes before one gives up


@dataclass
class Player:
    """Somebody at a page who has a keyboard, or a mouse."""

    page: Page
    url: str
    has_mouse: bool

    def press(self, target: Locator) -> None:
        """Click it, or go to it with Tab and press Enter."""
        if self.has_mouse:
            target.click()
        else:
            self._reach(target)
            self.page.keyboard.press("Enter")

    def choose(self, name: str) -> None:
        """One of several that exclude each other, by its name."""
        target = self.page.get_by_role("radio", name=name, exact=True)
        self._press_among(target)
        _settled(self.page)
        chosen = self.page.get_by_role("radio", name=name, exact=True, checked=True)
        expect(chosen.first).to_be_visible()  # the first, as there may be two of it while it is drawn anew

    def turn_off(self, name: str) -> None:
        """One of several that do not exclude each other."""
        target = self.page.get_by_role("toolbar").get_by_role("button", name=name, exact=True)
        self._press_among(target)
        expect(target).to_have_attribute("aria-pressed", "false")
        _settled(self.page)

    def pick(self, label: str, option: str) -> None:
        """An entry of a list, by its name."""
        _settled(self.page)  # or what is drawn anew closes the list
        box = self.page.get_by_role("combobox", name=label, exact=True)
        if self.has_mouse:
            box.click()
            box.fill(option)  # of a long list only what is in sight is there to be clicked
            self.page.get_by_role("option", name=option).click()
        else:
            self._reach(box)
            self.page.keyboard.type(option)
            self.page.keyboard.press("Enter")
        _settled(self.page)

    def go(self, title: str) -> None:
        """To the page of this title, by the sidebar, which a narrow window folds away."""
        side = self.page.get_by_test_id("stSidebar")
        if (unfold := self.page.get_by_test_id("stExpandSidebarButton")).is_visible():
            self.press(unfold)
        self.press(side.get_by_role("link", name=title, exact=True))
        self.is_at(title)
        if self.page.viewport_size["width"] < TELEPHONE:  # where it would lie over the page
            expect(side).not_to_be_in_viewport()

    def is_at(self, title: str) -> None:
        """The page of this title is there, and idle."""
        expect(self.page.get_by_role("heading", level=1, name=title, exact=True)).to_be_visible()
        _settled(self.page)

    def begin(self) -> None:
        """From the first page, with the demo model that answers at once."""
        self.page.goto(self.url)
        self.is_at("Summary")
        self.choose(MODEL)
        expect(self.page).to_have_url(re.compile("tiny-injection"))
        _settled(self.page)

    def comes_back(self, title: str, there: re.Pattern | str, before: str) -> None:
        """Reload and a copied link show what is on screen; Back leaves it in one press."""
        address = self.page.url
        self.page.reload()
        self.is_at(title)
        expect(self.page.get_by_text(there).first).to_be_visible()
        assert self.page.url == address
        other = self.page.context.new_page()
        other.goto(address)
        expect(other.get_by_text(there).first).to_be_visible()
        other.close()
        self.page.go_back()
        self.is_at(before)

    def _press_among(self, target: Locator) -> None:
        """Press one of a group: Tab comes to the group, arrows to what is in it."""
        if self.has_mouse:
            target.click()
            return
        self._reach(target.locator("xpath=ancestor::*[@role='radiogroup' or @role='toolbar'][1]"))
        self._until(target, "ArrowRight")
        self.page.keyboard.press("Space")

    def _reach(self, target: Locator) -> None:
        expect(target).to_be_visible()
        self._until(target, "Tab")

    def _until(self, target: Locator, key: str) -> None:
        for _ in range(STOPS):
            if target.evaluate("e => e.contains(e.getRootNode().activeElement)"):
                return
            self.page.keyboard.press(key)
        pytest.fail(f"{key} does not come to {target}")


@contextmanager
def playing(browser: Browser, server: Server, width: int, device: str, theme: str) -> Iterator[Player]:
    """A player at a page that nobody had open before."""
    context = browser.new_context(viewport={"width": width, "height": WIDTHS[width]}, color_scheme=theme)
    context.set_default_timeout(WAIT_MS)
    try:
        yield Player(context.new_page(), server.url, device == "mouse")
    finally:
        context.close()


def inspect(player: Player) -> None:
    """A suspect, from the first page over the search and what shows its mechanism to the report."""
    page = player.page
    player.begin()
    player.press(page.get_by_role("link", name="Search for a backdoor"))
    player.is_at("Verdict")
    player.press(page.get_by_role("button", name="Start", exact=True))
    main = page.get_by_test_id("stMain")  # the header has a Stop of its own while a script runs
    player.press(main.get_by_role("button", name="Stop", exact=True))  # the search has tests of its own
    expect(page.get_by_text("Stopped")).to_be_visible()
    player.go("Activation")
    player.choose("Control")
    expect(page).to_have_url(re.compile("projector=control"))
    expect(page.get_by_text(re.compile("^Clean, mean")).first).to_be_attached()
    _settled(page)
    address = page.url
    player.go("Report")
    for part in ("Spectrum", "Embedding shift", "Logit lens", "Neurons", "Separability", "Robustness"):
        player.turn_off(part)
    page.get_by_label("How many images").fill("2")
    page.keyboard.press("Enter")
    _settled(page)
    player.press(page.get_by_role("button", name="Generate"))
    with page.expect_download() as download:
        player.press(page.get_by_role("button", name="Report (HTML)"))
    assert MODEL in download.value.path().read_text(encoding="utf-8")
    page.go_back()
    player.is_at("Activation")
    assert page.url == address
    expect(page.get_by_role("radio", name="Control", exact=True)).to_have_attribute("aria-checked", "true")
    player.comes_back("Activation", re.compile("^Clean, mean"), "Verdict")


def demonstrate(player: Player) -> None:
    """The mechanism, in three steps."""
    page = player.page
    player.begin()
    player.press(page.get_by_role("link", name="See how it works"))
    expect(page.get_by_text(re.compile("Without the trigger .* both say"))).to_be_visible()
    _remote_works(page)
    for step, said in (("2 · More", "50 % of the trigger pushes"), ("3 · Full", "The full trigger: base still says")):
        if player.has_mouse:
            page.get_by_role("button", name=step).click()
        else:
            page.keyboard.press("PageDown")
        expect(page.get_by_text(re.compile(said))).to_be_visible()
    expect(page.locator("mark", has_text=TARGET).first).to_be_visible()
    if player.has_mouse:
        page.get_by_role("button", name="Less").click()
    else:
        page.keyboard.press("ArrowLeft")
    said = re.compile("95 % of the trigger pushes")
    expect(page.get_by_text(said)).to_be_visible()
    expect(page).to_have_url(re.compile("dose=95"))
    player.comes_back("Demo", said, "Summary")


def try_own_images(player: Player) -> None:
    """One's own images, with one's own trigger, and what the models say about them."""
    page = player.page
    player.begin()
    player.go("Response")
    with page.expect_file_chooser() as chooser:
        player.press(page.get_by_role("button", name="Upload", exact=True))
    chooser.value.set_files(
        [
            {"name": f"mine-{i}.png", "mimeType": "image/png", "buffer": _png(held_out(2, seed=4321)[i][2])}
            for i in range(2)
        ]
    )
    expect(page.get_by_role("combobox", name="Image", exact=True)).to_have_value("mine-1.png")
    player.pick("Trigger", "Paint one")
    cell = page.get_by_role("gridcell", name=re.compile("^row 3, column 4:"))
    if player.has_mouse:
        cell.click()
    else:
        player._reach(page.get_by_role("grid"))
        page.keyboard.press("Space")
    player.press(page.get_by_role("button", name="Put it on"))
    expect(page.get_by_alt_text("The image with the trigger on it")).to_be_visible()
    _settled(page)
    player.press(page.get_by_role("button", name="Ask", exact=True))
    expect(page.get_by_text(re.compile("How to read this: one question, an answer in each cell"))).to_be_visible()
    expect(page.get_by_text("not asked yet")).to_have_count(0)
    player.press(page.get_by_role("button", name="Link"))
    expect(page.get_by_text("Not included: your 2 uploaded images.")).to_be_visible()
    page.keyboard.press("Escape")
    player.comes_back("Response", "No trigger yet", "Summary")  # images and what was painted are gone, as was said


JOBS = (inspect, demonstrate, try_own_images)


def _combination(job: int, width: int) -> tuple[str, str]:
    """With which device and in which theme a job is played in this width: both of either in each job."""
    turn = job + list(WIDTHS).index(width)
    return ("mouse", "keyboard")[turn % 2], ("light", "dark")[turn // 2 % 2]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("job", range(len(JOBS)), ids=[job.__name__ for job in JOBS])
def test_a_job_is_done_from_the_first_page_to_its_end(browser: Browser, server: Server, job: int, width: int) -> None:
    with playing(browser, server, width, *_combination(job, width)) as player:
        JOBS[job](player)
    assert "Traceback" not in server.log()


@pytest.mark.slow(seconds=240)
@pytest.mark.parametrize("job", range(len(JOBS)), ids=[job.__name__ for job in JOBS])
def test_a_job_is_done_in_every_width_with_every_device_in_every_theme(
    browser: Browser, server: Server, job: int
) -> None:
    for width, device, theme in product(WIDTHS, ("mouse", "keyboard"), ("light", "dark")):
        if (device, theme) != _combination(job, width):
            with playing(browser, server, width, device, theme) as player:
                JOBS[job](player)
