"""What is found by gradient does not depend on the number of cores."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from projlens_core.runtime.threads import single_thread


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_the_number_of_threads_is_one_for_a_while_and_what_it_was_before_again():
    with single_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with pytest.raises(ValueError, match="stopped"), single_thread():
        raise ValueError("stopped")
    assert torch.get_num_threads() == 2


def test_of_two_sessions_the_last_to_be_done_sets_the_number_back():
    first_is_in, second_is_in, first_is_out = (threading.Event() for _ in range(3))

    def first():
        with single_thread():
            first_is_in.set()
            second_is_in.wait(10)
        first_is_out.set()

    def second():
        first_is_in.wait(10)
        with single_thread():
            second_is_in.set()
            first_is_out.wait(10)
            inside = torch.get_num_threads()
        return inside, torch.get_num_threads()

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.submit(first), pool.submit(second)
        one.result()
        assert other.result() == (1, 2)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 2
