"""One bounded shelf of values by key: each made once, by the first who asks, and the least recently used given up."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError, Future
from dataclasses import is_dataclass
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from PIL import Image

from projlens_core.runtime.progress import Progress, silent

BYTES = 2 * 2**30
TOLD_EVERY = 0.5  # s
WAITING = "Waiting for another session that computes the same"
T = TypeVar("T")


class Shelf:
    """At most `size` values of together at most `limit` bytes; safe between threads.

    The newest value is kept however large it is: it is about to be used.
    """

    def __init__(self, size: int, limit: int = BYTES):
        self._size, self._limit, self._lock = size, limit, threading.Lock()
        self._kept: OrderedDict[str, tuple[Any, int]] = OrderedDict()  # key → value, bytes
        self._making: dict[str, Future] = {}

    def get(self, key: str, make: Callable[[], T], progress: Progress = silent) -> T:
        """The value under `key`, made now if it is not there.

        Whoever asks for it meanwhile waits, is told so by `progress`, and may be called off by what that raises. If
        `make` fails, for whatever reason, the next of those who wait makes the value.
        """
        while True:
            with self._lock:
                if key in self._kept:
                    self._kept.move_to_end(key)
                    return self._kept[key][0]
                theirs = self._making.get(key)
                if theirs is None:
                    ours = self._making[key] = Future()
                    self._make_room(self._size - 1)
                    break
            try:
                return _awaited(theirs, progress)
            except CancelledError:
                continue
        try:
            value = make()  # outside the lock: it may take minutes, and others must be able to read
            with self._lock:
                self._kept[key] = value, held(value)
                self._make_room(self._size)
            ours.set_result(value)
            return value
        finally:
            with self._lock:
                del self._making[key]
            ours.cancel()  # does nothing to a result

    def __contains__(self, key: str) -> bool:
        """Whether `key` can be had without making it."""
        with self._lock:
            return key in self._kept

    def __len__(self) -> int:
        """How many values are kept."""
        with self._lock:
            return len(self._kept)

    def keep(self, keys: Collection[str]) -> None:
        """Give up all values but those under these keys."""
        with self._lock:
            for key in [key for key in self._kept if key not in keys]:
                del self._kept[key]

    def _make_room(self, size: int) -> None:
        """Give up values until `size` are left, and no more bytes than allowed; before one is made, too.

        Otherwise two language models would be in memory while the second is loaded.
        """
        while len(self._kept) > size or (len(self._kept) > 1 and sum(n for _, n in self._kept.values()) > self._limit):
            self._kept.popitem(last=False)


def held(value: object) -> int:
    """The bytes of all tensors, arrays, tables, images and texts in a value, in dataclasses and collections too.

    What lies there several times counts once; what cannot be looked into, a whole model say, counts nothing.
    """
    return sum(_held(value, set()))


def _held(value: object, seen: set[int]) -> Iterator[int]:
    if id(value) in seen:
        return
    seen.add(id(value))
    parts: Iterable[object] = ()
    match value:
        case torch.Tensor() | np.ndarray():
            yield value.nbytes
        case Image.Image():
            yield value.width * value.height * len(value.getbands())
        case pd.DataFrame():
            yield int(value.memory_usage(deep=True).sum())
        case str() | bytes():
            yield len(value)
        case Mapping():
            parts = value.values()
        case list() | tuple():
            parts = value
        case _ if is_dataclass(value) and not isinstance(value, type):
            parts = vars(value).values()
    for part in parts:
        yield from _held(part, seen)


def _awaited(future: Future, progress: Progress) -> Any:
    """The future's result; CancelledError if there will be none."""
    while True:
        try:
            return future.result(timeout=TOLD_EVERY)
        except TimeoutError:
            progress(WAITING, 0, 1)
