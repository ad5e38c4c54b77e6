"""PEFT's matching of module names, as `re` has it, but in bounded time."""

import re
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.weights.patterns import first_match, full_match

ATOMS = st.sampled_from(
    ["a", "b", ".", r"\.", "[ab]", "[^a]", r"\d", "1", r"\w", "$", "^", r"\A", r"\Z", "-", "[]a]", "[a-c.]", " ", "{"]
)
COUNTS = st.sampled_from(["*", "+", "?", "*?", "+?", "??", "{2}", "{1,2}", "{,2}", "{1,}", "{0}"])
EXPRESSIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map("".join),
        st.tuples(inner, inner).map("|".join),
        inner.map("({})".format),
        st.tuples(inner, COUNTS).map(lambda pair: f"(?:{pair[0]}){pair[1]}"),
        st.tuples(ATOMS, COUNTS).map("".join),
    ),
    max_leaves=8,
)


@settings(max_examples=1_000, deadline=None)
@given(EXPRESSIONS, st.text("ab.1-\n", max_size=8))
def test_it_matches_what_re_matches(expression, name):
    try:
        expected = re.match(rf"(.*\.)?({expression})$", name), re.fullmatch(expression, name)
    except re.error:
        return
    try:
        found = first_match([expression], name, "It"), full_match(expression, name, "It")
    except Unsupported:
        return
    assert (found[0] is not None, found[1]) == tuple(map(bool, expected))


@pytest.mark.parametrize(
    ("expressions", "name", "expected"),
    [
        (["linear_1", "linear_2"], "a.linear_2", "linear_2"),
        (["linear_2", "a.linear_2"], "a.linear_2", "linear_2"),
        (["a.linear_2", "linear_2"], "a.linear_2", "a.linear_2"),
        (["^linear_2"], "a.linear_2", None),
        (["^a.linear_2"], "a.linear_2", "^a.linear_2"),
        (["^a.linear_2"], "b.a.linear_2", None),
        (["inear_2"], "a.linear_2", None),
        (["a.linear.2"], "a.linear_2", "a.linear.2"),
        (["linear_2"], "linear_2", "linear_2"),
        ([], "linear_2", None),
        (["1|2", "x"], "x", "x"),
    ],
)
def test_the_first_expression_that_fits_the_name_or_what_follows_a_dot_counts(expressions, name, expected):
    assert first_match(expressions, name, "It") == expected


@pytest.mark.parametrize(
    "expression", ["(", "[", "a**", "*", "(?P<1>a)", r"\8", "[b-a]", "a{3,2}", "(?:a", r"\q", "x)"]
)
def test_what_is_no_expression_is_refused(expression):
    with pytest.raises(InvalidInput, match="no regular expression"):
        first_match([expression], "a", "It")


BEYOND = [
    "(?=a)",
    "(?!a)b",
    "(?<=a)b",
    "(?<!a)b",
    r"(a)\1",
    "(?P<n>a)(?P=n)",
    "(?>a)b",
    "a++",
    "(?i:a)",
    r"\ba",
    "(a)(?(1)b|c)",
]


@pytest.mark.parametrize("expression", BEYOND)
def test_what_looks_around_or_back_is_refused_rather_than_guessed(expression):
    with pytest.raises(Unsupported, match="cannot be bounded"):
        first_match([expression], "ab", "It")


ENDLESS = [
    "(a+)+b", "(a|a)*c", "(.*)*x", "(.*.*.*.*.*.*.*)x", "(a?){30}a{30}b", "((a*)*)*b", "(a|aa)+b", "([a-z]+)*Q",
    r"(\w+\s?)*!", "(?:(?:a{1,9}){1,9}){1,9}b", "(a*?)*?b", "(a{0,5}){0,5}b", "(.|a|[a-c])*b",
]  # fmt: skip


@pytest.mark.parametrize("expression", ENDLESS)
def test_no_expression_takes_longer_than_its_states_times_the_name(expression):
    begin = time.perf_counter()
    with suppress(Unsupported):
        assert first_match([expression], "a" * 900, "It") is None
    assert time.perf_counter() - begin < 5


def test_names_and_expressions_beyond_bounds_are_refused():
    with pytest.raises(Unsupported, match="1,000 at most"):
        first_match(["[ab]" * 300], "a", "It")
    with pytest.raises(Unsupported, match="more expressions"):
        first_match([f"(a|b|{number})*c" for number in range(5_000)], "a" * 900, "It")
    with pytest.raises(Unsupported, match="more expressions"):
        first_match(["a+"], "a" * 100_000, "It")


def test_as_many_plain_names_as_a_model_has_modules_take_no_time():
    names = [f"model.layers.{layer}.mlp.experts.{expert}.up_proj" for layer in range(100) for expert in range(400)]
    begin = time.perf_counter()
    assert first_match(names, names[-1], "It") == names[-1]
    assert time.perf_counter() - begin < 2
