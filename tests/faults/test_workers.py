"""Workers that fail or are killed: said in one sentence, and what was finished is kept."""

import threading

import pytest

from dashboard.shelf import Shelf
from projlens_core.runtime.fifo_lock import FifoLock
from tests.faults import work
from tests.faults.children import child


def test_a_killed_worker_stops_a_training_with_a_sentence_and_the_next_run_goes_on_from_what_was_kept(cache, tmp_path):
    hurt, unharmed = tmp_path / "hurt", tmp_path / "unharmed"
    for folder in (hurt, unharmed):
        folder.mkdir()
    (hurt / "trap").touch()
    with child(cache, work.train, str(hurt), 7) as first:
        (outcome, sentence), _ = first.result()
    assert outcome == "Shortage"
    assert sentence.startswith("A process that prepares images was ended from outside")
    assert sentence.endswith("give the same command again: it goes on from what was kept.")
    assert (hurt / "state.pt").is_file()
    (hurt / "trap").unlink()
    with child(cache, work.train, str(hurt), 0) as again, child(cache, work.train, str(unharmed), 0) as whole:
        assert again.result() == whole.result()


def test_a_session_whose_work_fails_leaves_the_model_to_the_next_and_its_place_on_the_shelf_empty():
    line, shelf, inside = FifoLock("the model"), Shelf(4), threading.Event()
    made = []

    def fail() -> None:
        inside.set()
        raise ZeroDivisionError

    def failing() -> None:
        with pytest.raises(ZeroDivisionError), line.turn():
            shelf.get("answers", fail)

    def after() -> None:
        inside.wait()
        with line.turn():
            made.append(shelf.get("answers", lambda: "made"))

    threads = [threading.Thread(target=work) for work in (after, failing)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert made == ["made"]
