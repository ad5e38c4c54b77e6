"""One side of one job in a process of its own, so that its memory is its own: `python -m benchmarks.worker …`.

Imports nothing but what the side itself needs, or a job whose time includes imports would pay for others'.
"""

import pkgutil
import resource
import sys
import time
from pathlib import Path

import numpy as np

from projlens_core.runtime import allocator

SECONDS, PEAK = "seconds", "peak"


def main(side: str, inputs: str, calls: str, warm: str, out: str) -> None:
    """Run `side` ("module:function") and write its results, one set a call, with seconds and peak memory, to `out`.

    The function gets the folder of inputs, loads what a running program would have loaded, and returns the work:
    a function from the number of a call, from 1 on, to arrays by name. If `warm`, call 0 comes first and is not kept.
    """
    allocator.give_back_large()  # as the command line does, on both sides
    if "weights" in side:
        allocator.wait_asleep()  # as the command of that name does
    work = pkgutil.resolve_name(side)(Path(inputs))
    if warm == "warm":
        work(0)
    results, seconds = {}, []
    for call in range(1, int(calls) + 1):
        start = time.perf_counter()
        found = work(call)
        seconds.append(time.perf_counter() - start)
        results |= {f"{call}.{name}": values for name, values in found.items()}
    np.savez(out, **results, **{SECONDS: np.array(seconds), PEAK: peak_memory()})


def peak_memory(process: int | str = "self") -> int:
    """The most resident memory, in bytes, that a process ever held; of another process only on Linux.

    On Linux from /proc, since what getrusage says of a process includes its parent at the moment it was started.
    """
    if Path("/proc/self/status").exists():
        return _status("VmHWM", process)
    if process != "self":
        raise OSError("The memory of another process can only be read from /proc.")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def reset_peak() -> None:
    """Let peak_memory() count from now on; only on Linux."""
    Path("/proc/self/clear_refs").write_text("5")


def resident_memory(process: int | str) -> int:
    """The resident memory, in bytes, that a process holds now; only on Linux."""
    return _status("VmRSS", process)


def _status(field: str, process: int | str) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{field}:")).split()[1]) * 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
