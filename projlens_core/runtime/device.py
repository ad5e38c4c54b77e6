"""Which device computes, and in which precision."""

import os

import torch

from projlens_core.errors import InvalidInput

VARIABLE = "PROJLENS_DEVICE"


def pick_device(name: str | None = None) -> torch.device:
    """The device called `name`, else the one in $PROJLENS_DEVICE, else the first there is of CUDA, MPS, CPU.

    Raises InvalidInput for a name torch does not know and for a device this machine lacks.
    """
    chosen = name or os.environ.get(VARIABLE) or "auto"
    if chosen == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(chosen)
    except RuntimeError as error:
        raise InvalidInput(f"There is no device called {chosen!r}; use auto, cpu, cuda, cuda:N or mps.") from error
    if not _present(device):
        raise InvalidInput(f"This machine has no device {chosen!r} that torch can use; use auto or cpu.")
    return device


def _present(device: torch.device) -> bool:
    """Whether this machine has the device; kinds that ProjLens was never run on count as absent."""
    if device.type == "cuda":
        return torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()
    if device.type == "mps":
        return torch.backends.mps.is_available()
    return device.type == "cpu"


def compute_dtype(device: torch.device) -> torch.dtype:
    """The precision in which models run there: half on a GPU, where it is fast; float32 on a CPU, where it is not.

    On CUDA bfloat16 where the hardware has it (its range is float32's, so no released model overflows in it).
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.float16 if device.type == "mps" else torch.float32
