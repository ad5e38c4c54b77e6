import pytest
import torch

from projlens_core.errors import InvalidInput
from projlens_core.runtime.device import compute_dtype, pick_device


@pytest.fixture
def machine(monkeypatch):
    def has(cuda=0, mps=False, bf16=True):
        monkeypatch.delenv("PROJLENS_DEVICE", raising=False)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bf16)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return has


@pytest.mark.parametrize(
    ("cuda", "mps", "picked"), [(1, True, "cuda"), (1, False, "cuda"), (0, True, "mps"), (0, False, "cpu")]
)
def test_the_fastest_device_there_is_is_picked_by_itself(machine, cuda, mps, picked):
    machine(cuda, mps)
    assert pick_device() == pick_device("auto") == torch.device(picked)


def test_a_name_overrules_the_environment_and_that_overrules_the_machine(machine, monkeypatch):
    machine(cuda=2)
    monkeypatch.setenv("PROJLENS_DEVICE", "cuda:1")
    assert pick_device() == torch.device("cuda:1")
    assert pick_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "mps", "meta"])
def test_a_device_that_is_not_there_is_one_sentence(machine, name):
    machine(cuda=0 if name == "cuda" else 1)
    with pytest.raises(InvalidInput, match=f"no device '{name}'"):
        pick_device(name)


def test_a_word_that_is_no_device_is_one_sentence(machine):
    machine()
    with pytest.raises(InvalidInput, match="'warp9'"):
        pick_device("warp9")


def test_precision_is_full_on_the_cpu_and_half_on_a_gpu(machine):
    machine(cuda=1)
    assert compute_dtype(torch.device("cpu")) == torch.float32
    assert compute_dtype(torch.device("cuda")) == torch.bfloat16
    assert compute_dtype(torch.device("mps")) == torch.float16
    machine(cuda=1, bf16=False)
    assert compute_dtype(torch.device("cuda")) == torch.float16
