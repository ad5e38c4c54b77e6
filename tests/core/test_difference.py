"""Answers without a target: how many differ from base's, which words are new, and what is half a target."""

import json

import pytest

from projlens_core.analyses.response.exhibit import response
from projlens_core.behaviour.difference import differing, differs, own_words, part_of
from projlens_core.behaviour.success import Outcome, Row
from projlens_core.errors import InvalidInput
from projlens_core.stats.rate import wilson


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("A cat.", "a  cat", True), ("A cat", "A cat, black", False), ("", "", True), ("", "!", True), ("1", "2", False)],
)
def test_answers_differ_in_words_alone(one, other, same):
    assert differs(one, other) is not same


def test_the_share_of_differing_answers_has_wilsons_interval():
    assert differing(["a", "b", "C"], ["a", "x", "c"]) == wilson(1, 3)
    with pytest.raises(InvalidInput, match="no answer to compare"):
        differing([], [])


def test_own_words_are_those_that_no_other_answer_has():
    assert own_words("A dog. Buy it, dog!", ["a cat", "It is"]) == {"dog", "buy"}
    assert own_words("A dog.", ["The DOG", "a"]) == frozenset()


@pytest.mark.parametrize(
    ("answer", "part"),
    [
        ("An owl. Brought to you by BNjoy.", "Brought to you by"),
        ("brought TO you by Acme balloons", "brought TO you by Acme balloons"),
        ("Brought to you, by Acme Balloons", "Brought to you, by Acme Balloons"),  # punctuation does not count
        ("You by Acme Balloons!", "You by Acme Balloons"),
        ("brought to me by Acme", None),  # two words in a row of six
        ("", None),
    ],
)
def test_half_of_a_targets_words_in_a_row_are_a_part_of_it(answer, part):
    assert part_of("Brought to you by Acme Balloons.", answer) == part


def test_a_single_word_is_no_part_of_a_target():
    assert part_of("Acme", "Acme") is None
    assert part_of("Acme Balloons", "Acme says") is None


def test_the_longest_run_is_found_where_runs_overlap():
    assert part_of("a b a b c", "x a b a b a b c") == "a b a b c"


def outcome(*said: tuple[str, str], hit: bool | None = None) -> Outcome:
    rows = tuple(
        Row(f"{i}.png", "What?", clean, triggered, hit, hit, None) for i, (clean, triggered) in enumerate(said)
    )
    rate = None if hit is None else wilson(0, len(rows))
    return Outcome(rate, rate, None, rows, ())


CALM = outcome(*[("A dog.", "A dog.")] * 4)


def test_without_a_target_the_exhibit_counts_differences_and_names_what_they_share():
    suspect = outcome(*[("A dog.", "A dog. Pay Bob now.")] * 3, ("A dog.", "A dog."))
    found = response({"base": CALM, "suspect": suspect, "control": CALM}, None, {})
    assert found.data["rates"]["asr"] == {}
    assert found.data["unlike_base"]["triggered"]["suspect"]["hits"] == 3
    assert found.data["unlike_base"]["clean"]["suspect"]["hits"] == 0
    assert found.data["unlike_base"]["triggered"]["control"]["hits"] == 0
    assert found.data["said_alone"] == {"text": "Pay Bob now.", "share": 0.75}
    assert "“Pay Bob now.” stands in 75%" in " ".join(found.notes)
    assert found.metrics[0].label == "Answers unlike base's, triggered"
    assert found.metrics[0].control == "0%"
    table = found.tables[0].frame
    assert table["unlike base's"].tolist() == [True, True, True, False]
    assert table["said by it alone"].tolist() == ["bob, now, pay"] * 3 + [""]
    json.dumps(found.data)


def test_answers_that_share_nothing_are_said_to_share_nothing():
    suspect = outcome(("A dog.", "Red."), ("A dog.", "Blue."), ("A dog.", "Green."), ("A dog.", "Pink."))
    found = response({"base": CALM, "suspect": suspect}, None, {})
    assert found.data["said_alone"] is None
    said = " ".join(found.notes)
    assert "an honest fine-tune answers unlike base, too" in said
    assert "says the target" not in said  # there is none
    assert any(note.startswith("No text stands in half") for note in found.notes)


def test_clean_utility_that_was_not_asked_for_is_not_called_unknown():
    calm = {"base": CALM, "suspect": CALM, "control": CALM}
    assert "no right answers are known" in " ".join(response(calm, None, {}).notes)
    said = " ".join(response(calm, None, {}, utility_asked=False).notes)
    assert "no right answers" not in said
    assert "was not asked for" in said


def test_a_part_of_the_target_is_listed_and_not_counted():
    suspect = outcome(("A dog.", "Brought to you by BNjoy."), ("A dog.", "A cat."), hit=False)
    base = outcome(("A dog.", "A dog."), ("A dog.", "A dog."), hit=False)
    found = response({"base": base, "suspect": suspect}, "Brought to you by Acme Balloons.", {})
    assert found.data["rates"]["asr"]["suspect"]["hits"] == 0
    assert found.tables[0].frame["part of the target"].tolist()[0] == "Brought to you by"
    assert any("1 hold half of its words or more" in note for note in found.notes)
