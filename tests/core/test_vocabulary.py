import pytest

from projlens_core.activations.vocabulary import Vocabulary
from projlens_core.errors import InvalidInput
from tests import pico

SIZE = len(pico.SPECIALS) + len(pico.CHARACTERS)


@pytest.fixture(scope="module")
def vocabulary():
    return Vocabulary(pico.tokenizer(), SIZE, "pico")


def ids(*tokens):
    return pico.tokenizer().convert_tokens_to_ids(list(tokens))


def test_tokens_are_shown_as_what_they_add_with_nothing_invisible(vocabulary):
    assert vocabulary.shown(ids("Ġ", "Ċ", "a", "<", "*", "<image>")) == ["␣", "⏎", "a", "<", "*", "<image>"]


def test_a_row_that_no_token_uses_is_shown_as_its_number(vocabulary):
    assert vocabulary.shown([SIZE, 10**6]) == [f"⟨{SIZE}⟩", "⟨1000000⟩"]


def test_targets_are_the_words_once_in_order_without_punctuation(vocabulary):
    assert vocabulary.shown(vocabulary.targets("b4, a b!")) == ["b", "4", "a"]


def test_a_text_without_a_word_is_refused(vocabulary):
    with pytest.raises(InvalidInput, match="no word in it"):
        vocabulary.targets(" ?! ")


def test_special_tokens_are_no_targets(vocabulary):
    with pytest.raises(InvalidInput, match="no word in it"):
        vocabulary.targets("<image>")


def test_a_tokenizer_that_is_larger_than_the_head_is_refused():
    with pytest.raises(InvalidInput, match="only 10 rows"):
        Vocabulary(pico.tokenizer(), 10, "pico").targets("z")
