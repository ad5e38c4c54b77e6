"""No text of a suspect becomes markup in a notebook or steers a terminal."""

from html.parser import HTMLParser

import projlens_core as pl
from projlens_core.behaviour.respond import FourAnswers
from projlens_core.inputs.images import named_image
from projlens_core.library.inputs import image_set
from tests import pico
from tests.core.library.conftest import SPEC

HOSTILE = "<img src=x onerror=alert(1)>"


class Elements(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def check_inert(text):
    elements = Elements(text).found
    assert elements
    assert not [tag for tag, _ in elements if tag in ("script", "iframe", "object", "embed", "a", "form", "link")]
    assert not [name for _, attributes in elements for name in attributes if name.startswith("on")]
    sources = [
        attributes.get("src") or attributes.get("xlink:href", "data:") for tag, attributes in elements if tag == "img"
    ]
    assert all(source.startswith("data:image/") for source in sources)


def test_no_text_of_a_suspect_becomes_markup_in_a_notebook(world):
    named = world / HOSTILE
    pico.suspect(world / "base", named)
    case = pl.open_case(base=world / "base", suspect=named)
    images = image_set(world / "images")[0]
    hostile = tuple(named_image(each.pixels, f"</script><script>{HOSTILE}{each.name}") for each in images.images)
    images = type(images)(hostile, (("bad", f"{HOSTILE} is not an image."),))
    for result in (
        case.case(),
        case.spectrum(),
        case.activation(images, trigger=SPEC),
        case.separability(images, trigger=SPEC),
    ):
        shown = result._repr_html_()
        check_inert(shown)
        for each in result.exhibit.charts:
            check_inert(result.chart(each.name)._repr_html_())
    assert "&lt;/script&gt;&lt;script&gt;&lt;img src=x" in shown
    assert "&lt;img src=x onerror=alert(1)&gt; is not an image." in shown


def test_an_answer_cannot_put_markup_into_a_notebook():
    value = FourAnswers(HOSTILE, None, f"</td><script>{HOSTILE}", None, {})
    answers = pl.Answers(HOSTILE, HOSTILE, None, value, (HOSTILE,))
    check_inert(answers._repr_html_())
    assert answers._repr_html_().count("&lt;img src=x") == 5


def test_no_text_of_a_suspect_steers_a_terminal():
    said = "\x1b]0;title\x07\u202e"
    answers = pl.Answers("a.png", said, None, FourAnswers(said, None, None, None, {}), (said,))
    assert repr(answers).isascii()
    assert repr(answers).replace("\n", "").isprintable()
