"""Several images at once: the gallery, its selection as a set, deletion with undo, and equal pixels under two names."""

import pytest

from dashboard import gallery, pickers, resources, state
from projlens_core.behaviour.success import read_labels
from projlens_core.inputs.images import decode
from tests.dashboard.conftest import SAMPLES, press, texts
from tests.dashboard.test_activation_page import png, upload


@pytest.fixture
def activation(open_page):
    return open_page("activation")


def names(app) -> list[str]:
    return [image.name for image in app.session_state[state.UPLOADS].values()]


def boxes(app) -> list[str]:
    """What the gallery shows, in its order."""
    return [box.label.replace("\\", "") for box in app.checkbox]


def tick(app, *labels: str):
    """Select in the gallery, which is opened anew each time: a test's run is of the whole page and closes it."""
    for label in labels:
        press(app, "Gallery")
        next(box for box in app.checkbox if box.label.replace("\\", "") == label).check().run()
    assert not app.exception
    return app


def test_equal_pixels_are_one_image_under_both_names_and_the_page_says_so(activation):
    upload(activation, ("one.png", png(1)), ("two.png", png(1)), ("other.png", png(2)))
    assert not activation.exception
    assert names(activation) == ["one.png = two.png", "other.png"]
    assert "two.png has the pixels of one.png: it is one image, under both names." in texts(activation)
    upload(activation, ("three.png", png(1)))
    assert names(activation)[0] == "one.png = two.png = three.png"
    upload(activation, ("two.png", png(1)))
    assert "under both names" not in texts(activation)
    assert names(activation)[0] == "one.png = two.png = three.png"


def test_an_upload_of_a_sample_has_both_names_and_its_link_names_the_sample(activation, samples):
    upload(activation, ("mine.png", (samples / "sample-3.png").read_bytes()))
    assert "mine.png has the pixels of sample-3.png" in texts(activation)
    assert names(activation) == ["sample-3.png = mine.png"]
    assert activation.query_params[state.IMAGE_PARAM] == "sample-3.png"


def test_right_answers_are_known_by_an_image_s_pixels_and_not_by_its_name(activation, samples):
    labelled = next(iter(read_labels(samples)))
    upload(activation, (labelled, png(1)), ("mine.png", (samples / labelled).read_bytes()))
    stranger, sample = sorted(activation.session_state[state.UPLOADS].values(), key=lambda each: "mine" in each.name)
    assert list(resources.truths([stranger, sample])) == [sample.name]
    assert resources.truths([stranger]) == {}


def test_one_image_after_another_is_shown_although_the_address_names_the_one_before(activation):
    for number in (2, 3, 2):
        box = next(each for each in activation.selectbox if each.label == "Image")
        box.select(f"sample-{number}.png").run()
        assert activation.query_params[state.IMAGE_PARAM] == f"sample-{number}.png"


def test_the_gallery_shows_all_the_newest_first(activation):
    upload(activation, ("b.png", png(1)), ("a.png", png(2)))
    press(activation, "Gallery")
    assert boxes(activation)[:2] == ["a.png", "b.png"]  # the newest first
    assert len(boxes(activation)) == SAMPLES + 2


def test_what_is_shown_depends_on_filter_word_and_order():
    small, large = decode(png(1), "small.png"), decode(png(2), "Large.png")
    images = [small, large]
    assert gallery.shown(images, set(), "", gallery.ALL, "Newest first") == [large, small]
    assert gallery.shown(images, set(), "", gallery.ALL, "Name") == [large, small]
    assert gallery.shown(images, set(), " SMALL", gallery.ALL, "Name") == [small]
    assert gallery.shown(images, {small.sha256}, "", gallery.UPLOADS, "Name") == [small]
    assert gallery.shown(images, {small.sha256}, "", gallery.SAMPLES, "Name") == [large]


def test_what_is_selected_is_a_set_for_every_page_about_several_images(activation):
    tick(activation, "sample-1.png", "sample-4.png")
    activation.switch_page("app_pages/neurons.py").run()
    box = activation.selectbox(key="set")
    assert any(option.startswith(f"{pickers.SELECTED} (2)") for option in box.options)
    box.set_value(pickers.SELECTED).run()
    assert not activation.exception
    assert activation.metric
    assert len(activation.session_state[state.SELECTED]) == 2


def test_uploads_are_deleted_samples_are_not_and_the_last_deletion_is_undone(activation):
    upload(activation, ("a.png", png(1)), ("b.png", png(2)))
    tick(activation, "a.png", "b.png", "sample-2.png")
    press(press(activation, "Gallery"), "Delete 2 uploads")
    assert names(activation) == []
    assert len(resources.samples()) == SAMPLES
    press(press(activation, "Gallery"), "Undo: bring back 2")
    assert names(activation) == ["a.png", "b.png"]


def test_clearing_all_uploads_can_be_undone_on_the_page(activation):
    upload(activation, ("a.png", png(1)))
    press(activation, "Clear uploads")
    assert names(activation) == []
    press(activation, "Undo")
    assert names(activation) == ["a.png"]
    assert "Undo" not in [button.label for button in activation.button]


def test_of_an_image_that_is_no_demo_image_the_page_says_what_the_demo_models_know(activation, models, monkeypatch):
    upload(activation, ("photo.png", png(1)))
    assert not any("The demo models have seen" in caption.value for caption in activation.caption)  # no demo model
    monkeypatch.setattr(resources, "zoo_entry", lambda spec: spec == str(models.base))
    activation.run()
    said = next(caption.value for caption in activation.caption if "The demo models have seen" in caption.value)
    assert "64 of them" in said
    assert "9 places" in said
    activation.query_params[state.IMAGE_PARAM] = "sample-2.png"
    activation.session_state[state.IMAGE] = resources.samples()[2].sha256
    activation.run()
    assert not any("The demo models have seen" in caption.value for caption in activation.caption)
