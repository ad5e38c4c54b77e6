"""Slow tests come last, the shortest first, and PROJLENS_TEST_SECONDS lets no more of them start than it has time for.

`@pytest.mark.slow(seconds=…)` says how long one takes on two cores.
"""

import os
import time

import pytest

BUDGET = "PROJLENS_TEST_SECONDS"
BEGIN = time.monotonic()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_seconds)  # stable: all others keep their order


def pytest_runtest_setup(item: pytest.Item) -> None:
    needed, budget = _seconds(item), os.environ.get(BUDGET)
    if needed and budget and time.monotonic() - BEGIN + needed > float(budget):
        pytest.skip(f"takes {needed} s, more than is left of {BUDGET}={budget}")


def _seconds(item: pytest.Item) -> float:
    slow = item.get_closest_marker("slow")
    return slow.kwargs["seconds"] if slow else 0
