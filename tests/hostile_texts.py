"""What a chat template or a tokenizer may do to the process that reads it, and what the sentence about it says.

A tokenizer's harm is written into tokenizer.json, as the library reads it; some of it needs a text like HARMED.
"""

from collections.abc import Callable
from typing import Any

HARMED = "e" * 60 + "!"
LOOP = "{% for i in range(99999) %}" * 3 + "{% endfor %}" * 3
GROWS = "{% set n = namespace(x='x' * 1000) %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}{{ n.x }}"
# what a chat template may do → what the sentence says
TEMPLATES = {
    "loops without end": (LOOP, "longer than any sound one"),
    "doubles a text sixty times": (GROWS, "needs more than"),
    "multiplies a text": ("{{ 'x' * 10**12 }}", "needs more than"),
    "multiplies a list": ("{{ ([0] * 10**11) | length }}", "needs more than"),
    "takes a power without end": ("{{ (9 ** (9 ** 9)) % 7 }}", "longer than any sound one"),
    "pads a text": ("{{ '%1000000000000d' % 1 }}", "model"),
    "centres a text": ("{{ 'x' | center(10**12) }}", "needs more than"),
    "writes too long a chat": ("{{ 'x' * 10**7 }}", "grows to more than"),
    "recurses": ("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", "fails"),
    "nests expressions": ("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}", ""),
    "replaces each letter by a million": (
        "{{ ('x' * 10**6) | replace('x', 'y' * 10**6) }}",
        "needs more than",
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
    "a normaliser of backtracking": (normaliser(replaces("^(e|e)*$", "", "Regex")), "The tokenizer of model"),
    "a split of backtracking": (splits("^(e|e)*$"), "The tokenizer of model"),
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
