"""A shelf: each value made once, whoever asks, and no more kept than there is room for."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from dashboard import shelf as shelves
from dashboard.shelf import WAITING, Shelf, held

PATIENCE = 10  # s


class Left(BaseException):
    """As what Streamlit raises to end a script: no Exception."""


@pytest.fixture(autouse=True)
def told_often(monkeypatch):
    monkeypatch.setattr(shelves, "TOLD_EVERY", 0.005)


@pytest.fixture
def pool():
    with ThreadPoolExecutor(16) as running:
        yield running


class Slow:
    """A maker that says when it has begun, and takes until it is told to end."""

    def __init__(self):
        self.begun, self.end, self.calls = threading.Event(), threading.Event(), 0

    def __call__(self):
        self.calls += 1
        self.begun.set()
        assert self.end.wait(PATIENCE)
        return object()


def test_each_value_is_made_once_and_the_least_recently_used_is_given_up():
    shelf, made = Shelf(2), []

    def get(key):
        return shelf.get(key, lambda: made.append(key) or key)

    for key in ("a", "b", "a", "c", "a", "b"):
        assert get(key) == key
    assert made == ["a", "b", "c", "b"]
    assert "c" not in shelf


def test_sessions_that_ask_for_the_same_at_once_get_the_same_made_once(pool):
    shelf, make, waits = Shelf(1), Slow(), threading.Semaphore(0)
    asked = [pool.submit(shelf.get, "a", make, lambda *_: waits.release()) for _ in range(16)]
    for _ in range(15):
        assert waits.acquire(timeout=PATIENCE)
    make.end.set()
    assert len({id(each.result(PATIENCE)) for each in asked}) == 1
    assert make.calls == 1


def test_other_values_can_be_had_while_one_is_made(pool):
    shelf, make = Shelf(2), Slow()
    slow = pool.submit(shelf.get, "a", make)
    assert make.begun.wait(PATIENCE)
    assert shelf.get("b", lambda: 1) == 1
    make.end.set()
    assert slow.result(PATIENCE) is shelf.get("a", pytest.fail)


def test_who_waits_is_told_and_may_leave_without_disturbing_the_maker(pool):
    shelf, make, told = Shelf(1), Slow(), []

    def leave(*said):
        told.append(said)
        raise Left

    slow = pool.submit(shelf.get, "a", make)
    assert make.begun.wait(PATIENCE)
    with pytest.raises(Left):
        shelf.get("a", pytest.fail, leave)
    make.end.set()
    assert slow.result(PATIENCE) is shelf.get("a", pytest.fail)
    assert told == [(WAITING, 0, 1)]


@pytest.mark.parametrize("error", [ZeroDivisionError, Left])
def test_a_value_that_could_not_be_made_is_made_by_the_next_who_waits(error, pool):
    shelf, slow, waits = Shelf(1), Slow(), threading.Event()

    def failing():
        slow()
        raise error

    first = pool.submit(shelf.get, "a", failing)
    assert slow.begun.wait(PATIENCE)
    second = pool.submit(shelf.get, "a", lambda: 1, lambda *_: waits.set())
    assert waits.wait(PATIENCE)
    slow.end.set()
    assert second.result(PATIENCE) == 1
    assert isinstance(first.exception(PATIENCE), error)
    assert shelf.get("a", pytest.fail) == 1


def test_room_is_made_before_a_value_is_so_that_two_models_are_never_in_memory():
    shelf = Shelf(1)
    shelf.get("a", object)
    assert shelf.get("b", lambda: "a" in shelf) is False


def test_large_values_are_given_up_by_their_bytes_and_the_newest_is_kept_however_large():
    shelf = Shelf(10, limit=100)
    for key, size in (("a", 40), ("b", 40), ("c", 40), ("d", 1000)):
        shelf.get(key, lambda size=size: bytes(size))
        assert key in shelf
    assert [key for key in "abcd" if key in shelf] == ["d"]
    shelf.get("e", lambda: bytes(60))
    shelf.get("f", lambda: bytes(40))
    assert [key for key in "def" if key in shelf] == ["e", "f"]


def test_the_bytes_of_a_value_are_those_of_all_that_lies_in_it():
    @dataclass(frozen=True)
    class Result:
        shift: torch.Tensor
        parts: dict
        image: Image.Image

    image = Image.new("RGB", (5, 4))
    shift = torch.zeros(3)
    result = Result(shift, {"a": (np.zeros(2), b"123"), "b": ["four", None, 5], "again": shift}, image)
    assert held(result) == 3 * 4 + 2 * 8 + 3 + 4 + 5 * 4 * 3
    assert held(pd.DataFrame({"x": np.zeros(8)})) >= 64
    assert held(object()) == held(Result) == 0
