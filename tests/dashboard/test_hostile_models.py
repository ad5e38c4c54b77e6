"""Models that would lead the server astray, block it or end it: a box with one sentence, and the page goes on.

The files are those of tests/hostile_models.py and tests/hostile_texts.py.
"""

import sys
from pathlib import Path

import pytest

from dashboard import resources
from projlens_core.activations import tokenizers
from projlens_core.cases.case import Case
from tests import hostile_models, pico
from tests.dashboard.conftest import press
from tests.dashboard.test_bad_inputs import boxes, is_one_sentence
from tests.hostile_texts import HARMED, TEMPLATES, TOKENIZERS

REFUSED = [
    "6 GiB of what ends answers",
    "a tokenizer linked from outside",
    "a template in a subfolder linked from outside",
    "a pipe as a template",
]


class NobodyThere:
    """A standard input that nobody may read."""

    def readline(self, *_: object) -> str:
        raise AssertionError("standard input is read")


def template(what: str) -> hostile_models.Change:
    return lambda folder: (folder / "chat_template.jinja").write_text(TEMPLATES[what][0])


def tokenizer(what: str) -> hostile_models.Change:
    return lambda folder: hostile_models.edit(folder, "tokenizer.json", TOKENIZERS[what][0])


HARMFUL = {
    **{what: hostile_models.REFUSED[what][0] for what in REFUSED},
    **{what: template(what) for what in ("loops without end", "doubles a text sixty times")},
    **{what: tokenizer(what) for what in ("a normaliser that makes a text 10**12 times as long", "no model")},
}


@pytest.fixture(autouse=True)
def _small_limits(monkeypatch):
    monkeypatch.setattr(tokenizers, "SECONDS", 3.0)
    monkeypatch.setattr(tokenizers, "MEMORY", 2**29)
    monkeypatch.setattr(sys, "stdin", NobodyThere())


class Asked:
    """A zoo entry that offers one question: what a tokenizer is harmed by."""

    prompts, target, mode, trigger = (HARMED,), None, None, None


@pytest.fixture
def ask(open_page, models, tmp_path, monkeypatch):
    """Ask a base that was changed, and its suspect."""
    monkeypatch.setattr(resources, "zoo_entry", lambda spec: Asked)

    def asked(change: hostile_models.Change):
        base: Path = pico.checkpoint(tmp_path / "base")
        change(base)
        case = Case(str(base), str(models.suspect), str(models.control))
        app = open_page("response", case.to_params())
        press(app, "Ask")
        assert not app.exception
        return app

    return asked


@pytest.mark.parametrize("what", HARMFUL)
def test_a_model_that_harms_is_one_sentence_and_the_page_goes_on(what, ask, models, monkeypatch):
    if what == "loops without end":
        monkeypatch.setattr(tokenizers, "TEMPLATE_SECONDS", 0.5)
    app = ask(HARMFUL[what])
    said = boxes(app)
    assert said
    assert all(map(is_one_sentence, said))
    app.query_params.update(models.case.to_params())
    app.run()
    press(app, "Ask")
    assert boxes(app) == []
    assert any("one question, an answer in each cell" in caption.value for caption in app.caption)


def test_what_a_model_names_elsewhere_is_not_followed(ask, tmp_path):
    app = ask(hostile_models.RUNS["an audio tokenizer elsewhere"])
    assert boxes(app) == []
    assert any("one question, an answer in each cell" in caption.value for caption in app.caption)
    assert not list(tmp_path.rglob("ran"))
