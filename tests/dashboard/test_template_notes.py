"""A model without a chat template is asked as LLaVA-1.5 is: every page that shows answers says so."""

import pytest

from tests import pico
from tests.core.test_templates import JINJA, TEXT_ONLY, TOKENIZER, put
from tests.dashboard.conftest import press, texts

SAID = "No chat template was found in `raw`"


@pytest.fixture
def address(tmp_path):
    """A case whose base, called `raw`, has no chat template."""
    base = pico.checkpoint(tmp_path / "`raw`")
    pico.suspect(base, tmp_path / "suspect")
    (base / JINJA).unlink()
    put(base, {TOKENIZER: None})
    # a projector alone is asked by base's model: a suspect that brings a template is asked with its own
    lone = pico.projector_file(tmp_path / "suspect", tmp_path / "suspect.safetensors")
    return {"base": str(base), "suspect": str(lone)}


def noted(app):
    """How often the page says it; in a caption every special character is escaped."""
    return sum(SAID in caption.value.replace("\\", "") for caption in app.caption)


def test_answers_and_a_batch_of_them(open_page, address):
    app = open_page("response", address)
    assert noted(app) == 0
    press(app, "Ask")
    assert noted(app) == 1
    app.text_input(key=f"target {address['suspect']}").set_value("a").run()
    app.slider(key="count").set_value(2).run()
    press(app, "Run")
    assert not app.exception
    assert noted(app) == 2


def test_the_grid_and_the_answers_at_each_rank(open_page, address):
    app = open_page("lowrank", address)
    app.text_input(key=f"target {address['suspect']}").set_value("a")
    app.multiselect(key="lowrank_ranks").set_value([0])
    app.run()
    app.slider(key="lowrank_images").set_value(1).run()
    press(app, "Ask at every k")
    assert noted(app) == 1
    press(app, "Fill the grid")
    assert not app.exception
    assert noted(app) >= 1


def test_answers_to_a_changed_trigger(open_page, address):
    app = open_page("robustness", address)
    app.slider(key="robustness_images").set_value(2)
    next(group for group in app.button_group if group.key and group.key.startswith("robustness_axes")).set_value(
        ["quality"]
    ).run()
    press(app, "Try the changes")
    app.segmented_control(key="robustness_view").set_value("Answers").run()
    app.text_input(key=f"target {address['suspect']}").set_value("a").run()
    press(app, "Ask")
    assert not app.exception
    assert noted(app) == 1


def test_a_template_for_text_alone_is_one_sentence(open_page, address, tmp_path):
    put(tmp_path / "`raw`", {JINJA: TEXT_ONLY})
    app = open_page("response", address)
    press(app, "Ask")
    assert not app.exception
    assert "(chat_template.jinja) leaves the image out" in texts(app)
