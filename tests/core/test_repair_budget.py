"""The time that a repair may take."""

import pytest

from projlens_core.repair.budget import Budget


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
