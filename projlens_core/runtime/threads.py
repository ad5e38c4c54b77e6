"""How many threads arithmetic runs on, where that decides what comes out."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def single_thread() -> Iterator[None]:
    """PyTorch on one thread. Sums are added up in another order on each number of threads, and what is found by many
    steps along a gradient can end elsewhere for that: so a search on two cores would find what one on one core does
    not, or the reverse.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
