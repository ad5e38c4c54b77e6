"""A tokenizer, template or config that harms the process that reads it harms a child: the rest is one sentence.

Through the command, with small limits. What harms is written into tokenizer.json, as the library reads it.
"""

import json
from pathlib import Path

import pytest

from projlens_core.activations import tokenizers
from projlens_core.cli import main
from projlens_core.errors import InvalidInput, as_invalid_input
from projlens_core.runtime import child, helper
from tests import pico
from tests.core.test_respond import whole_model_answers
from tests.hostile import PanicException
from tests.hostile_models import edit
from tests.hostile_texts import HARMED, TEMPLATES, TOKENIZERS, normaliser, replaces

pytestmark = pytest.mark.usefixtures("own_folder")


@pytest.fixture(autouse=True)
def _small_limits(monkeypatch):
    monkeypatch.setattr(tokenizers, "SECONDS", 3.0)
    monkeypatch.setattr(tokenizers, "MEMORY", 2**29)


@pytest.fixture
def folder(tmp_path):
    pico.images(1)[0].save(tmp_path / "image.png")
    return pico.checkpoint(tmp_path / "model")


def asked(folder: Path, capsys: pytest.CaptureFixture[str], prompt: str = HARMED) -> tuple[int, str, str]:
    image = folder.parent / "image.png"
    code = main(["respond", "--base", str(folder), "--image", str(image), "--prompt", prompt, "--json"])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize("what", TEMPLATES)
def test_a_template_is_one_sentence_whatever_it_does(what, folder, capsys, monkeypatch):
    template, said = TEMPLATES[what]
    if "longer than" in said:  # else a busy machine would end by time what ends by something else
        monkeypatch.setattr(tokenizers, "TEMPLATE_SECONDS", 0.5)
    (folder / "chat_template.jinja").write_text(template)
    code, out, err = asked(folder, capsys)
    assert (code, out) == (1, "")
    assert said in err
    assert "chat template" in err
    assert err.strip().isprintable()


@pytest.mark.parametrize("what", TOKENIZERS)
def test_a_tokenizer_is_one_sentence_whatever_it_does(what, folder, capsys):
    change, said = TOKENIZERS[what]
    edit(folder, "tokenizer.json", change)
    code, out, err = asked(folder, capsys)
    assert (code, out) == (1, "")
    assert said in err
    assert err.strip().isprintable()


def test_a_text_may_harm_where_others_do_not(folder, capsys):
    """The normaliser grows what has a q in it; loading it and asking without one are no reason to refuse."""
    edit(folder, "tokenizer.json", normaliser(*(replaces("q", "q" * 20) for _ in range(12))))
    code, out, _ = asked(folder, capsys, "What is it?")
    assert code == 0
    said = whole_model_answers(folder, pico.images(1), ["What is it?"])
    assert json.loads(out)["answers"]["base"]["clean"] == said[0]
    code, out, err = asked(folder, capsys, "quit")
    assert (code, out) == (1, "")
    assert "The tokenizer of model" in err


def test_what_passed_is_not_read_in_a_child_again(folder, capsys, monkeypatch):
    first = asked(folder, capsys)

    def no_more(*_: object, **__: object) -> object:
        raise AssertionError("a child for a tokenizer")

    monkeypatch.setattr("projlens_core.activations.rehearsal.tokenize", no_more)
    started: list[str] = []
    before = helper.Running.__init__
    monkeypatch.setattr(
        helper.Running, "__init__", lambda self, order: (started.append(order["start"]), before(self, order))[1]
    )
    assert asked(folder, capsys) == first
    assert [name for name in started if not name.endswith(":render")] == []


def test_the_zoos_own_tokenizer_needs_no_child(monkeypatch):
    from projlens_core.activations.tokenizers import load_tokenizer
    from projlens_core.sources import resolve

    monkeypatch.setattr(child.Child, "ask", lambda *_: pytest.fail("a child for what is ours"))
    assert load_tokenizer(resolve("zoo:base"))("What?")["input_ids"]


class _OwnError(Exception):
    pass


FOREIGN = [
    PanicException("called `Option::unwrap()` on a `None` value"), _OwnError("\x1b[31mred"), KeyError("model"),
    OverflowError("int too big"), ZeroDivisionError("division by zero"), EOFError(), StopIteration("x"),
    NotImplementedError("later"), AssertionError(), RecursionError("deep"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"),
    ConnectionError("refused"), OSError(2, "No such file", "/x"), BufferError("x"), SyntaxError("bad"), Warning("old"),
]  # fmt: skip


@pytest.mark.parametrize("error", FOREIGN, ids=lambda error: type(error).__name__)
def test_whatever_a_library_raises_is_one_sentence(error):
    with pytest.raises(InvalidInput) as caught, as_invalid_input("The file cannot be read"):
        raise error
    assert str(caught.value).startswith("The file cannot be read: ")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) > len("The file cannot be read: ")


def test_errors_of_linear_algebra_and_of_safetensors_are_libraries_too():
    import torch
    from safetensors import SafetensorError

    with pytest.raises(InvalidInput), as_invalid_input("It fails"):
        torch.linalg.cholesky(torch.tensor([[float("nan")]]))
    with pytest.raises(InvalidInput), as_invalid_input("It fails"):
        raise SafetensorError("header too large")


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit(), MemoryError(), InvalidInput("It.")]
)
def test_what_steers_the_program_passes(error):
    with pytest.raises(type(error)) as caught, as_invalid_input("It fails"):
        raise error
    assert caught.value is error
