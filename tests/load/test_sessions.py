"""Sessions at once on the dashboard as users start it: four in every run of the tests, twenty where there is time."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks import load
from benchmarks.comparison import ROOT
from benchmarks.report import Report, table

CACHE = str(ROOT / ".cache" / "browser")
PATIENCE = 30  # s; the target is 3 s on a machine that does nothing else


def test_four_sessions_see_their_own_cases_and_get_their_own_answers(tmp_path, monkeypatch):
    monkeypatch.setenv("PROJLENS_CACHE", CACHE)
    assert _used(tmp_path, quick=True).figures
    assert "Traceback" not in (tmp_path / load.LOG).read_text()


@pytest.mark.slow(seconds=180)
def test_twenty_sessions_see_their_own_cases_in_memory_that_does_not_grow(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PROJLENS_CACHE", CACHE)
    report = _used(tmp_path)  # fails as soon as a session is shown what is not its own
    with capsys.disabled():
        sys.stdout.write(f"\n{table([report])}\n")
    figures = {figure.quantity: figure for figure in report.figures}
    assert figures[load.SWITCHES.format(200)].met
    assert figures[load.P95].ours < PATIENCE
    assert "Traceback" not in (tmp_path / load.LOG).read_text()


def _used(folder: Path, quick: bool = False) -> Report:
    """In a thread of its own: where tests with a browser came before, this one has an event loop that runs already."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(load.run, folder, quick).result()
