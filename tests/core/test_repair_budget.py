"""The time that a repair may take."""

from math import inf
from types import SimpleNamespace

import pytest

from projlens_core.behaviour.stage_clock import StageClock
from projlens_core.repair import search
from projlens_core.repair.budget import Budget
from projlens_core.repair.search import PATTERN_MINUTES
from projlens_core.runtime.progress import silent


def asked(minutes, *times):
    """What a budget says at these seconds."""
    clock = iter((0.0, *times))
    budget = Budget(minutes, lambda: next(clock))
    return [budget() for _ in times]


@pytest.mark.parametrize(
    ("minutes", "times", "expected"),
    [
        (1, (0, 59), (True, False)),
        (1, (0, 10, 40, 41), (True, True, False, False)),  # the longest took 30 s, so the next would end at 70
        (1, (5, 20, 30, 45), (True, True, True, True)),
        (1, (5, 20, 30, 46), (True, True, True, False)),
        (5, (0, 70, 140, 150, 231), (True, True, True, True, False)),
        (5, (301,), (False,)),
    ],
)
def test_a_stage_begins_only_if_one_as_long_as_the_longest_would_end_in_time(minutes, times, expected):
    assert tuple(asked(minutes, *times)) == expected


@pytest.fixture
def searched(monkeypatch, tmp_path):
    """What is given to each search that is made, with so many minutes left; unfinished: the stages that it lacks."""
    monkeypatch.setenv("PROJLENS_CACHE", str(tmp_path))
    given = []

    class Searcher:
        pattern_seconds = 0.0

        def __init__(self, *about, budget, pattern_minutes, thorough, few):
            given.append((budget, pattern_minutes, few))
            self.clock = StageClock(silent, budget)

        def run(self, bank):
            return SimpleNamespace(trials=(), unfinished=unfinished)

    monkeypatch.setattr(search, "Searcher", Searcher)
    about = {"names": (), "images": (), "prompts": (), "used": 0, "models": None, "key": "", "progress": None}
    problem = SimpleNamespace(base=SimpleNamespace(sha256="b"), **about)
    unfinished = ()

    def made(left, *lacks):
        nonlocal unfinished
        unfinished = lacks
        assert search.verdict_search(problem, (), lambda: left)(SimpleNamespace(sha256="s")) == ()
        return given

    return made


@pytest.mark.parametrize(
    ("left", "budget", "patterns"),
    [(10.0, 10.0, PATTERN_MINUTES), (2.0, 2.0, 1.0), (-1.0, -1.0, -0.5), (inf, None, PATTERN_MINUTES)],
)
def test_a_search_ends_in_what_is_left_and_begins_no_token_pattern_in_the_second_half(searched, left, budget, patterns):
    assert searched(left) == [(budget, patterns, True)]


def test_a_search_that_the_budget_cut_short_is_made_again_with_more_time(searched):
    searched(2.0, "Token patterns")
    assert searched(10.0, "Token patterns") == [(2.0, 1.0, True), (10.0, PATTERN_MINUTES, True)]
    assert len(searched(2.0)) == 2  # what was searched with all the time there is, is kept


def test_a_search_of_which_the_budget_cut_another_stage_short_is_made_again(searched):
    searched(-1.0, "Probe bank")
    assert len(searched(10.0, "Probe bank")) == 2
    assert len(searched(20.0, "Probe bank")) == 2  # what cannot be made with any budget is no reason


def test_a_search_that_came_to_its_end_is_kept_however_little_time_was_left(searched):
    searched(2.0)
    assert len(searched(10.0)) == 1


def test_what_is_left_of_a_budget_falls_with_the_clock():
    clock = iter((0.0, 30.0, 90.0))
    budget = Budget(1, lambda: next(clock))
    assert (budget.left(), budget.left()) == (0.5, -0.5)


def test_what_would_not_end_before_the_rest_of_the_budget_outlasts_it():
    clock = StageClock(silent, 4)  # minutes, one of which is kept for what is found
    assert not clock.outlasts(170)
    assert clock.outlasts(181)
    assert not StageClock(silent, None).outlasts(10**9)
