"""The three users' jobs, done by hand as they would: inspect a suspect, show the mechanism, test an upload."""

import io
import re

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from projlens_core.inputs.triggers import TriggerSpec
from projlens_core.sources import zoo_catalogue
from projlens_core.zoo.samples import held_out
from tests.browser.conftest import Server, Traffic

SUSPECT = zoo_catalogue()["malicious-injection"]
ADDRESS = f"?base=zoo%3Abase&suspect=zoo%3A{SUSPECT.name}&control=zoo%3Aclean-1"


def _png(image: Image.Image) -> bytes:
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


def _settled(page: Page) -> None:
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
    expect(page.get_by_test_id("stException")).to_have_count(0)


def _remote_works(page: Page) -> None:
    """The Demo takes a remote control's keys: before their button is drawn, perhaps after the guide, they do nothing.

    A trial click waits until the button stands still, and does not press it.
    """
    _settled(page)
    page.get_by_role("button", name="Next Shortcut PageDown").click(trial=True)


@pytest.fixture
def own_image() -> bytes:
    """An image that neither ships with the dashboard nor was trained on."""
    return _png(held_out(3, seed=4321)[2][2])


def test_inspecting_a_suspect_shows_its_spectrum_beside_the_control(
    page: Page, server: Server, traffic: Traffic
) -> None:
    page.goto(server.url)
    _settled(page)
    page.get_by_role("link", name="Choose another case").click()
    page.get_by_role("button", name=SUSPECT.title).click()
    expect(page).to_have_url(re.compile(SUSPECT.name))
    _settled(page)
    charts = page.get_by_test_id("stVegaLiteChart")
    expect(charts.first).to_be_visible()
    assert charts.count() >= 2
    cards = page.get_by_test_id("stMetric")
    expect(cards.first).to_contain_text(re.compile(r"\d"))
    expect(page.get_by_text(re.compile(r"^control \d")).first).to_be_visible()
    assert traffic.errors == []


def test_an_uploaded_image_gets_the_trigger_its_heatmaps_and_the_target_in_the_answer(
    page: Page, server: Server, traffic: Traffic, own_image: bytes
) -> None:
    page.goto(f"{server.url}/activation{ADDRESS}")
    _settled(page)
    page.locator('input[type="file"]').set_input_files(
        {"name": "mine.png", "mimeType": "image/png", "buffer": own_image}
    )
    expect(page.get_by_text("mine.png").first).to_be_visible()
    _settled(page)
    for title in (r"Clean, mean", r"Triggered, mean", r"Difference, mean"):
        expect(page.get_by_label(re.compile(title)).or_(page.get_by_text(re.compile(title))).first).to_be_attached()
    assert page.get_by_test_id("stVegaLiteChart").count() >= 5  # two maps, their difference, two scales

    page.get_by_role("link", name="Response", exact=True).first.click()
    expect(page.get_by_role("heading", level=1, name="Response")).to_be_visible()
    _settled(page)
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator("mark", has_text=SUSPECT.target)).to_be_visible()
    _settled(page)
    flags = page.locator(".stMarkdownBadge", has_text=re.compile(r"target$"))
    expect(flags).to_have_count(1)  # suspect and trigger together, and only they
    assert traffic.errors == []
    assert "Traceback" not in server.log()


def test_the_target_does_not_appear_without_the_trigger_or_without_the_backdoor(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/response?base=zoo%3Abase&suspect=zoo%3Aclean-1&control=zoo%3Aclean-2")
    _settled(page)
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.get_by_text(re.compile("How to read this: one question, an answer in each cell"))).to_be_visible()
    expect(page.get_by_text(SUSPECT.target)).to_have_count(0)


@pytest.mark.parametrize(
    ("name", "data"),
    [("notes.png", b"These are notes."), ("cut.jpg", b"\xff\xd8\xff\xe0" + bytes(40))],
    ids=["text called png", "truncated jpeg"],
)
def test_a_bad_upload_gives_one_sentence_and_the_page_goes_on(
    name: str, data: bytes, page: Page, server: Server, traffic: Traffic
) -> None:
    page.goto(f"{server.url}/activation{ADDRESS}")
    _settled(page)
    page.locator('input[type="file"]').set_input_files({"name": name, "mimeType": "image/png", "buffer": data})
    expect(page.get_by_text("Not read")).to_be_visible()
    expect(page.get_by_text(name).first).to_be_visible()
    _settled(page)
    assert page.get_by_test_id("stVegaLiteChart").count() >= 5
    assert "Traceback" not in server.log()


def test_back_leaves_a_page_in_one_press_and_a_link_holds_every_parameter(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/spectrum{ADDRESS}")
    _settled(page)
    page.get_by_text("ΔW itself").first.click()
    _settled(page)
    page.get_by_text("Largest", exact=True).first.click()
    expect(page).to_have_url(re.compile("weights_view=heatmap&weights_measure=largest"))
    _settled(page)
    address, steps = page.url, page.evaluate("history.length")
    page.get_by_role("link", name="Case", exact=True).first.click()
    expect(page.get_by_role("heading", level=1, name="Case")).to_be_visible()
    _settled(page)
    expect(page).to_have_url(re.compile(SUSPECT.name))
    assert page.evaluate("history.length") == steps + 1
    page.go_back()
    expect(page.get_by_role("heading", level=1, name="Spectrum")).to_be_visible()
    expect(page).to_have_url(address)
    for reopened in (page.reload, lambda: page.goto(address)):
        reopened()
        expect(page.get_by_role("radio", name="Largest")).to_have_attribute("aria-checked", "true")
        _settled(page)
        assert page.url == address


def test_an_old_address_opens_the_page_of_today_and_back_does_not_stop_at_it(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/case{ADDRESS}")
    _settled(page)
    page.goto(f"{server.url}/weights{ADDRESS}&weights_view=Shared+directions")
    expect(page.get_by_role("heading", level=1, name="Spectrum")).to_be_visible()
    expect(page).to_have_url(re.compile(r"/spectrum\?.*malicious-injection.*weights_view=overlap"))
    _settled(page)
    page.go_back()
    expect(page.get_by_role("heading", level=1, name="Case")).to_be_visible()


def test_the_demo_is_played_from_the_keyboard_until_the_suspect_says_its_target(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/demo{ADDRESS}")
    expect(page.get_by_text(re.compile("Without the trigger .* both say"))).to_be_visible()
    _remote_works(page)
    page.keyboard.press("PageDown")
    expect(page.get_by_text(re.compile("50 % of the trigger pushes"))).to_be_visible()
    page.keyboard.press("PageDown")
    expect(page.get_by_text(re.compile("The full trigger: base still says"))).to_be_visible()
    expect(page.locator("mark", has_text=SUSPECT.target).first).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_text(re.compile("95 % of the trigger pushes"))).to_be_visible()
    hidden = page.get_by_test_id("stSlider").get_by_role("slider").first  # for screen readers, in the thumb
    thumb = hidden.locator("xpath=../..").bounding_box()
    assert thumb is not None
    middle = thumb["y"] + thumb["height"] / 2
    page.mouse.move(thumb["x"] + thumb["width"] / 2, middle)
    page.mouse.down()
    page.mouse.move(thumb["x"] - 120, middle, steps=4)
    page.mouse.up()
    expect(page.get_by_text(re.compile("95 % of the trigger pushes"))).to_have_count(0)
    page.keyboard.press("PageDown")  # still the guide's, although the mouse has touched the slider
    expect(page.get_by_text(re.compile("The full trigger: base still says"))).to_be_visible()


def test_a_trigger_is_painted_with_the_mouse_and_the_keyboard_and_stamped_on_the_image(
    page: Page, server: Server, traffic: Traffic
) -> None:
    page.goto(f"{server.url}/response{ADDRESS}&trigger=Paint+one")
    _settled(page)
    expect(page.get_by_text("No trigger yet")).to_be_visible()
    page.get_by_role("gridcell", name=re.compile("^row 3, column 4:")).click()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    expect(page.get_by_role("gridcell", name="row 3, column 5: #26ff00")).to_be_visible()
    expect(page.get_by_text("2 of 256 cells painted")).to_be_visible()
    page.get_by_role("button", name="Put it on").click()
    expect(page.get_by_text("Content hash")).to_be_visible()
    expect(page.get_by_alt_text("The image with the trigger on it")).to_be_visible()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as JSON").click()
    spec = TriggerSpec.from_file(saved.value.path())
    assert (spec.kind, spec.px, spec.position) == ("painted", 40, (60, 40))
    assert traffic.errors == []
