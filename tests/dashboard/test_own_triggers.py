"""A user's own trigger in the picker: from an image, painted, from a file; the same on every page."""

import io

import numpy as np
import pytest
from PIL import Image

from dashboard import own_triggers, resources, state
from projlens_core.inputs.images import decode
from projlens_core.inputs.own_triggers import painting
from projlens_core.inputs.triggers import TriggerSpec, stamp
from tests.core.test_own_triggers import encoded, painted
from tests.dashboard.conftest import texts

BLUE = encoded(Image.new("RGB", (24, 24), "#0000ff"))


@pytest.fixture
def activation(open_page):
    return open_page("activation")


def choose(app, name: str):
    next(box for box in app.selectbox if box.key == state.TRIGGER).set_value(name).run()
    assert not app.exception
    return app


def upload(app, name: str, *files: tuple[str, bytes]):
    uploader = app.file_uploader(key=f"trigger files {name}")
    given = [(file, data, "image/png") for file, data in files]
    uploader.set_value(given if name == own_triggers.FILE else given[0]).run()
    assert not app.exception
    return app


def saved(app) -> dict[str, str]:
    return {button.label: button for button in app.download_button if button.label.startswith("Save")}


@pytest.mark.parametrize("name", [own_triggers.LOGO, own_triggers.PAINTED, own_triggers.FILE])
def test_until_there_is_a_trigger_the_page_says_what_to_do_and_computes_nothing(activation, name):
    choose(activation, name)
    assert any("No trigger yet" in m.value for m in activation.markdown)
    assert not activation.metric


def test_an_uploaded_image_is_the_trigger_on_this_page_and_the_next(activation):
    upload(choose(activation, own_triggers.LOGO), own_triggers.LOGO, ("mine.png", BLUE))
    assert set(saved(activation)) == {"Save as JSON", "Save its image, to lie beside"}
    assert any("A link to this page does not hold this trigger" in c.value for c in activation.caption)
    spec = activation.session_state[state.MADE_TRIGGERS][own_triggers.LOGO]
    assert (np.asarray(stamp(Image.new("RGB", (336, 336)), spec))[-20, -20] == (0, 0, 255)).all()
    activation.switch_page("app_pages/neurons.py").run()
    choose(activation, own_triggers.LOGO)  # a browser takes the choice along in the link
    assert any(spec.digest[:12] in c.value for c in activation.caption)
    assert activation.metric


def test_an_image_that_cannot_be_read_is_refused_and_the_one_before_stays(activation):
    upload(choose(activation, own_triggers.LOGO), own_triggers.LOGO, ("mine.png", BLUE))
    upload(activation, own_triggers.LOGO, ("notes.png", b"These are notes."))
    assert "notes.png is not a PNG" in texts(activation)
    assert activation.session_state[state.MADE_TRIGGERS][own_triggers.LOGO].image.startswith("logo-")
    upload(activation, own_triggers.LOGO, ("mine.png", BLUE))
    assert "notes.png" not in texts(activation)


def test_a_saved_trigger_comes_back_from_its_files_and_without_its_image_is_refused(activation):
    logo = b'{"kind": "image", "image": "mark.png", "px": 30, "resolution": 64, "position": "top-left"}'
    upload(choose(activation, own_triggers.FILE), own_triggers.FILE, ("trigger.json", logo))
    assert "choose that file together with the JSON" in texts(activation)
    upload(activation, own_triggers.FILE, ("trigger.json", logo), ("mark.png", BLUE))
    spec = activation.session_state[state.MADE_TRIGGERS][own_triggers.FILE]
    assert (spec.px, spec.resolution) == (30, 64)
    assert decode(spec.image_path.read_bytes(), spec.image).sha256 == decode(BLUE, "").sha256
    assert activation.metric


def test_a_painting_is_a_trigger_whose_size_and_place_can_be_edited(activation):
    spec = painting(painted(r0c0="ff0000", r1c1="00ff00"), 320)
    activation.session_state[state.MADE_TRIGGERS] = {own_triggers.PAINTED: spec}
    choose(activation, own_triggers.PAINTED)
    assert set(saved(activation)) == {"Save as JSON"}
    assert activation.metric
    shown = resources.triggered_image(resources.samples()[0], spec)
    assert [shown.getpixel(at) for at in ((5, 5), (25, 25))] == [(255, 0, 0), (0, 255, 0)]


def test_the_digest_is_of_what_is_stamped_and_not_of_where_it_lies(tmp_path):
    specs = []
    for folder, colour in (("a", "red"), ("b", "red"), ("c", "blue")):
        (tmp_path / folder).mkdir()
        data = io.BytesIO()
        Image.new("RGB", (4, 4), colour).save(data, "PNG")
        (tmp_path / folder / "logo.png").write_bytes(data.getvalue())
        specs.append(TriggerSpec("image", image="logo.png", folder=tmp_path / folder))
    assert specs[0].digest == specs[1].digest != specs[2].digest
