"""How many threads arithmetic runs on, where that decides what comes out."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_lock = threading.Lock()
_usual: list[int] = []  # the number elsewhere, once for each block that is open


@contextmanager
def single_thread() -> Iterator[None]:
    """PyTorch on one thread, in this block. Sums are added up in another order on each number of threads, and what is
    found by many steps along a gradient can end elsewhere for that: so a search on two cores would find what one on one
    core does not, or the reverse.

    The number is the whole process's. Several blocks may be open at once, as a dashboard has a thread for each session;
    the last to be left sets it back.
    """
    with _lock:
        _usual.append(_usual[-1] if _usual else torch.get_num_threads())
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _lock:
            usual = _usual.pop()
            if not _usual:
                torch.set_num_threads(usual)
