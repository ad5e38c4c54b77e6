import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, sys
import numpy as np
from projlens_core.runtime import allocator

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks rest".split()] + [
        (f"more {i}", ctypes.c_size_t) for i in range(5)
    ]

mallinfo = ctypes.CDLL(None).mallinfo2
mallinfo.restype = Info
if sys.argv[1] == "ours":
    allocator.give_back_large()
first = np.ones(20 * 2**20, dtype=np.uint8)
del first  # what teaches glibc to keep such blocks
before = mallinfo().hblks  # that are mapped by themselves
second = np.ones(16 * 2**20, dtype=np.uint8)
print(mallinfo().hblks - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the allocator of Linux")
@pytest.mark.parametrize(("who", "mapped"), [("ours", "1"), ("glibc", "0")])
def test_a_large_block_is_returned_to_the_system_when_it_is_dropped(who, mapped, monkeypatch):
    monkeypatch.delenv("MALLOC_MMAP_THRESHOLD_", raising=False)
    done = subprocess.run([sys.executable, "-c", PROGRAM, who], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == mapped, done.stderr
