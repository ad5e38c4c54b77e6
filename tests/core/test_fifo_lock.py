"""The line before what serves one at a time: order, what those who wait are told, and places given up."""

import threading
from contextlib import suppress

import pytest

from projlens_core.runtime import fifo_lock
from projlens_core.runtime.fifo_lock import FifoLock

PATIENCE = 10  # s


@pytest.fixture(autouse=True)
def told_often(monkeypatch):
    monkeypatch.setattr(fifo_lock, "TOLD_EVERY", 0.005)


class Waiter:
    """A thread that stands in line until it is let go; keeps what it is told, and may give up."""

    def __init__(self, before: FifoLock, served: list, name: str):
        self.told, self.waiting, self.leave, self.done = [], threading.Event(), threading.Event(), threading.Event()
        self._line, self._served, self._name = before, served, name
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _progress(self, stage, done, total):
        self.told.append((stage, done, total))
        self.waiting.set()
        if self.leave.is_set():
            raise SystemExit  # no Exception, as those by which Streamlit ends a script are not

    def _run(self):
        with suppress(SystemExit), self._line.turn(self._progress):
            self._served.append(self._name)
            self.done.wait(PATIENCE)

    def told_to_wait(self):
        assert self.waiting.wait(PATIENCE)
        return self

    def ended(self):
        self._thread.join(PATIENCE)
        return not self._thread.is_alive()


def _queue(before, served, names):
    """Waiters in this order, each of whom stands in line before the next one comes."""
    return [Waiter(before, served, name).told_to_wait() for name in names]


def test_who_came_first_is_served_first_and_one_at_a_time():
    before, served = FifoLock("the model"), []
    with before.turn():
        waiters = _queue(before, served, "abcd")
        assert served == []
    for waiter in waiters:
        waiter.done.set()
        assert waiter.ended()
    assert served == list("abcd")


def test_nobody_is_told_to_wait_who_need_not():
    def never(*_):
        raise AssertionError

    before = FifoLock("the model")
    for _ in range(2):
        with before.turn(never):
            pass


def test_those_who_wait_are_told_their_number_and_how_many_were_served_since():
    before, served = FifoLock("the model"), []
    with before.turn():
        first, second = _queue(before, served, "ab")
    assert first.told[0] == ("Waiting, number 1 in line for the model; served before you", 0, 1)
    assert second.told[0] == ("Waiting, number 2 in line for the model; served before you", 0, 2)
    second.waiting.clear()
    second.told_to_wait()
    assert second.told[-1] == ("Waiting, number 1 in line for the model; served before you", 1, 2)
    first.done.set()
    second.done.set()
    assert first.ended()
    assert second.ended()


def test_who_leaves_gives_up_the_place_and_the_next_moves_up():
    before, served = FifoLock("the model"), []
    with before.turn():
        first, second = _queue(before, served, "ab")
        first.leave.set()
        assert first.ended()
        second.waiting.clear()
        second.told_to_wait()
        assert "number 1 " in second.told[-1][0]
    second.done.set()
    assert second.ended()
    assert served == ["b"]


def test_a_turn_that_fails_is_over():
    before = FifoLock("the model")
    with pytest.raises(ZeroDivisionError), before.turn():
        _ = 1 / 0
    with before.turn(lambda *_: pytest.fail("the place was not given up")):
        pass
