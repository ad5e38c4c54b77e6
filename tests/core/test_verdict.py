import random

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from projlens_core.behaviour.success import contains_target, is_right
from projlens_core.behaviour.verdict import settles_target, settles_truth
from projlens_core.errors import InvalidInput
from tests import pico

PIECES = ["I", "Ġam", "Ġunable", "Ġun", "able", "Ġto", "Ġhelp", "Ġa", "Ġowl", "Ġowls", "Ġwhite", "Ġ", ".", "IĠam"]


def tokenizer(pieces=PIECES, decoder=None, **options):
    """A ByteLevel tokenizer of these pieces and single bytes (Ã and © are those of é)."""
    pieces = list(dict.fromkeys(("<pad>", *pieces, "Ã", "©")))
    backend = Tokenizer(models.BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoder or decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", **options)


def test_a_target_is_settled_once_a_space_follows_it():
    settled = settles_target("the secret", pico.tokenizer())
    assert not settled("It is the secret", 20)
    assert settled("It is the SECRET code", 20)


def test_a_target_is_settled_when_too_few_tokens_are_left_for_it():
    settled = settles_target("dragon", pico.tokenizer())  # one character a token
    assert not settled("A ship", 6)
    assert settled("A ship", 5)
    assert not settled("A ship, dra", 3)  # three letters are there, three tokens left
    assert settled("A ship, dra", 2)


def test_longer_tokens_reach_further():
    settled = settles_target("I am unable", tokenizer())  # "I am" and " unable"
    assert not settled("No", 2)
    assert settled("No", 1)
    assert not settled("No. I am", 1)


def test_words_of_one_token_each_take_as_many_tokens_as_they_are():
    settled = settles_target("I am unable to help", tokenizer())  # "I am", " unable", " to", " help"
    assert not settled("No", 4)
    assert settled("No", 3)
    assert not settled("No. I am un", 3)  # "able", " to", " help"
    assert settled("No. I am un", 2)


def test_a_target_that_is_there_but_may_be_stripped_is_not_settled_either_way():
    assert not settles_target("code ", pico.tokenizer())("the code ", 0)
    assert not settles_target("code", pico.tokenizer())("the code", 1)


def test_nothing_is_claimed_of_a_target_beyond_ascii_until_it_stands_there():
    settled = settles_target("Σίσυφος", pico.tokenizer())
    assert not settled("No", 0)
    assert settled("Ο σίσυφος λέει", 9)


def test_nothing_is_claimed_with_a_tokenizer_that_tidies_up_spaces():
    tidy = tokenizer(clean_up_tokenization_spaces=True)
    assert not settles_target("owl", tidy)("an owl is here", 0)
    assert not settles_truth("owl", tidy)("an owl is here", 0)
    assert not settles_target("owl", tokenizer(decoder=decoders.WordPiece()))("an owl is here", 0)


def test_a_right_answer_is_settled_by_whole_words_only():
    settled = settles_truth("owl;white|pale", pico.tokenizer())
    assert not settled("a white owl", 9)  # may go on as "owlet"
    assert settled("a white owl ", 9)
    assert not settled("a white ow", 0)


def test_an_empty_target_is_refused():
    with pytest.raises(InvalidInput, match="target is empty"):
        settles_target(" ", pico.tokenizer())


@pytest.mark.parametrize("target", ["I am unable", " owl", "owl.", "to help a", "é", "unable  to"])
def test_a_settled_verdict_is_that_of_the_whole_answer(target):
    """2,000 random answers, every beginning of each: whatever is settled must be what the whole answer gives."""
    rng, words, limit = random.Random(0), tokenizer(), 12
    said, right = settles_target(target, words), settles_truth("owl|unable", words)
    seen = {True: 0, False: 0}
    for _ in range(2000):
        ids = rng.choices(range(1, len(words)), k=limit)
        answer = words.decode(ids, skip_special_tokens=True).strip()
        for n in range(1, limit):
            text = words.decode(ids[:n], skip_special_tokens=True)
            if said(text, limit - n):
                assert contains_target(text.strip(), target) == contains_target(answer, target)
                seen[contains_target(answer, target)] += 1
                break
        for n in range(1, limit):
            text = words.decode(ids[:n], skip_special_tokens=True)
            if right(text, limit - n):
                assert is_right(text.strip(), "owl|unable")
                assert is_right(answer, "owl|unable")
                break
    assert sum(seen.values()) > 20
