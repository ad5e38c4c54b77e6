"""How much memory there is for one more model beside those that are loaded."""

import psutil
import torch

RESERVE = 2**30  # bytes that are left for images, prompts and everybody else
SPARE = 1.1  # of a model's own size: buffers, and tensors that are held twice while they are arranged


def fits(size: int, device: torch.device) -> bool:
    """Whether a model of `size` bytes can be loaded, through main memory onto `device`, with what is free now."""
    free = psutil.virtual_memory().available
    if device.type == "cuda":
        free = min(free, torch.cuda.mem_get_info(device)[0])
    return SPARE * size + RESERVE <= free
