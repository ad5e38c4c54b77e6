"""Slow tests come last, the shortest first, and none starts that would end after PROJLENS_TEST_UNTIL (s since 1970).

`@pytest.mark.slow(seconds=…)` says how long one takes on two cores. With --fast only the fast floor is collected.
"""

import os
import time
from pathlib import Path

import pytest

from tests.fast import is_fast

UNTIL = "PROJLENS_TEST_UNTIL"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fast", action="store_true", help="only what neither runs models nor opens pages: under a minute"
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    is_test = collection_path.name.startswith("test_") and collection_path.suffix == ".py"
    return True if config.getoption("--fast") and is_test and not is_fast(collection_path) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_seconds)  # stable: all others keep their order


def pytest_runtest_setup(item: pytest.Item) -> None:
    needed, until = _seconds(item), os.environ.get(UNTIL)
    if needed and until and time.time() + needed > float(until):
        pytest.skip(f"takes {needed} s, more than is left until {UNTIL}={until}")


def _seconds(item: pytest.Item) -> float:
    slow = item.get_closest_marker("slow")
    return slow.kwargs["seconds"] if slow else 0
