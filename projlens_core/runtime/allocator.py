"""Memory goes back to the system as arrays are dropped.

glibc's allocator takes the first large block that is freed for a sign that such blocks should stay with the process,
up to 32 MB each. Among them lie the small results that are kept, so that the room can neither be returned nor used
again: ranking 2,000 images in the memory of 32 held 1.2 GB in the end, and holds 0.7 GB like this, in the same time.
"""

import ctypes
import os
import sys
from collections.abc import Callable

LARGE = 4 * 2**20  # bytes from which a block is mapped by itself, and so returned alone; smaller would cost time
SPARE = 64 * 2**20  # bytes free at the end of the heap that stay for what comes next
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)


def give_back_large() -> None:
    """Fix both limits for this process; nothing where the system's allocator is not glibc's, or the user tuned it."""
    mallopt = None if any(name.startswith("MALLOC_") for name in os.environ) else _glibc("mallopt")
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, LARGE)
        mallopt(_M_TRIM_THRESHOLD, SPARE)


def give_back_spare() -> None:
    """Return all that is free by now, before something that takes as much memory as it may."""
    trim = _glibc("malloc_trim")
    if trim is not None:
        trim(0)


def wait_asleep() -> None:
    """Let PyTorch's threads sleep while they wait; only before PyTorch is imported.

    They spin otherwise, and the matrix library takes another set of buffers in many runs: comparing 7B weights held 575
    to 632 MB, as chance would have it, and hardly ever more than 575 MB like this, in the same time. Not for language
    models, whose many small steps it makes a fifth slower.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _glibc(name: str) -> Callable[..., int] | None:
    """The function of that name; None where the system's allocator is another one."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
