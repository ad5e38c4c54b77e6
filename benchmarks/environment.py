"""On what the figures were measured: without it they say nothing."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version

import torch

PACKAGES = ("torch", "transformers", "numpy", "streamlit")
BUSY = 0.3  # load average for each core, before the first job, above which times mean little


def environment() -> dict:
    """Machine, versions and device; load is the number of processes that wanted a core in the minute before."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "cpu_count": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
        "device": "cpu",
    }


def busy(found: dict) -> bool:
    """Whether other programs took a good part of the machine."""
    return found["load"] > BUSY * found["cpu_count"]
