"""A tokenizer, template or config that harms the process that reads it harms a child: the rest is one sentence.

Through the command, with small limits. What harms is written into tokenizer.json, as the library reads it.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from projlens_core.activations import tokenizers
from projlens_core.cli import main
from projlens_core.errors import InvalidInput, as_invalid_input
from projlens_core.runtime import child, helper
from tests import pico
from tests.core.test_respond import whole_model_answers
from tests.hostile import PanicException
from tests.hostile_models import edit

pytestmark = pytest.mark.usefixtures("own_folder")

LOOP = "{% for i in range(99999) %}" * 3 + "{% endfor %}" * 3
GROWS = "{% set n = namespace(x='x' * 1000) %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}{{ n.x }}"
# what a chat template may do → what the sentence says
TEMPLATES = {
    "loops without end": (LOOP, "longer than any sound one"),
    "doubles a text sixty times": (GROWS, "needs more than"),
    "multiplies a text": ("{{ 'x' * 10**12 }}", "needs more than"),
    "multiplies a list": ("{{ ([0] * 10**11) | length }}", "needs more than"),
    "takes a power without end": ("{{ (9 ** (9 ** 9)) % 7 }}", "longer than any sound one"),
    "pads a text": ("{{ '%1000000000000d' % 1 }}", "fails"),
    "centres a text": ("{{ 'x' | center(10**12) }}", "needs more than"),
    "writes too long a chat": ("{{ 'x' * 10**7 }}", "grows to more than"),
    "recurses": ("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", "fails"),
    "nests expressions": ("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}", ""),
    "makes long lines of loops": (
        "{% for i in range(10**5) %}" * 30 + "{% endfor %}" * 30,
        "longer than any sound one",
    ),
    "raises": ("{{ raise_exception('no\x1b[31m') }}", "fails"),
    "reads what is not there": ("{{ messages[7].content.x }}", "fails"),
    "divides by zero": ("{{ 1 // 0 }}", "fails"),
    "reaches for its surroundings": ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "fails"),
    "reaches through a format": ("{{ '{0.__class__}'.format(1) }}", ""),
    "includes a file": ("{% include '/etc/passwd' %}", "fails"),
    "is no template": ("{% for %}", "fails"),
    "writes half a character": ("{{ '\\ud800' }}", "fails"),
    "leaves the image out": ("{{ messages[0]['role'] }}", ""),
}


def normaliser(*steps: dict[str, Any]) -> Callable[[dict[str, Any]], object]:
    return lambda content: content.update(normalizer={"type": "Sequence", "normalizers": list(steps)})


def decoder(*steps: dict[str, Any]) -> Callable[[dict[str, Any]], object]:
    return lambda content: content.update(decoder={"type": "Sequence", "decoders": list(steps)})


def replaces(pattern: str, by: str, kind: str = "String") -> dict[str, Any]:
    return {"type": "Replace", "pattern": {kind: pattern}, "content": by}


def splits(pattern: str) -> Callable[[dict[str, Any]], object]:
    step = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return lambda content: content.update(pre_tokenizer=step)


def a_token(text: str) -> Callable[[dict[str, Any]], object]:
    return lambda content: content["model"]["vocab"].update({text: 500})


FOUR = [replaces(letter, "e" * 1000) for letter in "eeee"]
# what is changed in tokenizer.json → what the sentence says
TOKENIZERS = {
    "a normaliser that makes a text 10**12 times as long": (normaliser(*FOUR), "The tokenizer of model"),
    "a normaliser of backtracking": (normaliser(replaces("(e|e)*q", "", "Regex")), "The tokenizer of model"),
    "a split of backtracking": (splits("(e|e)*q"), "The tokenizer of model"),
    "a character map of nonsense": (
        normaliser({"type": "Precompiled", "precompiled_charsmap": "//////////8="}),
        "The tokenizer of model",
    ),
    "a regular expression that is none": (normaliser(replaces("(", "", "Regex")), "The tokenizer of model"),
    "a decoder that makes a text 10**12 times as long": (decoder(*FOUR), "times as long as its tokens"),
    "a decoder of regular expressions": (decoder(replaces("(a*)*b", "", "Regex")), "by a regular expression"),
    "a decoder that puts a text between all letters": (decoder(replaces("", "x" * 10**4)), "times as long"),
    "a token of a million letters": (a_token("x" * 10**6), "has a token of 1,000,000 characters"),
    "a merge of what is not there": (lambda c: c["model"].update(merges=["q zz"]), "The tokenizer of model"),
    "an unknown model": (lambda c: c["model"].update(type="Evil"), "The tokenizer of model"),
    "an unknown normaliser": (normaliser({"type": "Evil"}), "The tokenizer of model"),
    "a vocabulary of lists": (lambda c: c["model"].update(vocab=[["a"], ["b"]]), "The tokenizer of model"),
    "no model": (lambda c: c.pop("model"), "The tokenizer of model"),
    "negative numbers": (lambda c: c["model"]["vocab"].update(a=-1), "The tokenizer of model"),
    "numbers beyond 32 bits": (lambda c: c["model"]["vocab"].update(a=2**40), "The tokenizer of model"),
    "nested normalisers": (
        lambda c: c.update(normalizer=nested({"type": "Lowercase"}, 100)),
        "The tokenizer of model",
    ),
}  # fmt: skip


def nested(step: dict[str, Any], depth: int) -> dict[str, Any]:
    for _ in range(depth):
        step = {"type": "Sequence", "normalizers": [step]}
    return step


@pytest.fixture(autouse=True)
def _small_limits(monkeypatch):
    monkeypatch.setattr(tokenizers, "SECONDS", 3.0)
    monkeypatch.setattr(tokenizers, "MEMORY", 2**29)
    monkeypatch.setattr(tokenizers, "TEMPLATE_SECONDS", 0.5)


@pytest.fixture
def folder(tmp_path):
    pico.images(1)[0].save(tmp_path / "image.png")
    return pico.checkpoint(tmp_path / "model")


def asked(folder: Path, capsys: pytest.CaptureFixture[str], prompt: str = "e" * 60) -> tuple[int, str, str]:
    image = folder.parent / "image.png"
    code = main(["respond", "--base", str(folder), "--image", str(image), "--prompt", prompt, "--json"])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize("what", TEMPLATES)
def test_a_template_is_one_sentence_whatever_it_does(what, folder, capsys):
    template, said = TEMPLATES[what]
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
    steps = [replaces("q", "e" * 1000), *FOUR]
    edit(folder, "tokenizer.json", normaliser(*(replaces("q", "qqqqqqqqqqqqqqqqqqqq") for _ in range(12))))
    assert steps
    code, out, _ = asked(folder, capsys, "What is it?")
    assert code == 0
    assert (
        json.loads(out)["answers"]["base"]["clean"] == whole_model_answers(folder, pico.images(1), ["What is it?"])[0]
    )
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
