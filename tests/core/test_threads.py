"""What is found by gradient does not depend on the number of cores."""

import pytest
import torch

from projlens_core.runtime.threads import single_thread


def test_the_number_of_threads_is_one_for_a_while_and_what_it_was_before_again():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with single_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
        with pytest.raises(ValueError, match="stopped"), single_thread():
            raise ValueError("stopped")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
