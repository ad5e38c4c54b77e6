"""What a process that reads a stranger's file may still do: compute, within limits, and read what it was given.

The kernel keeps to it. On Linux (x86-64, aarch64) a system-call filter refuses connections, new processes, programs
and signals to other processes; elsewhere only the limits hold, and no new process can be made where the system counts
processes without threads.
"""

import ctypes
import math
import os
import platform
import resource
import signal
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress

NOTHING, CONNECT, ANYTHING = "nothing", "connect", "anything"
LINUX = sys.platform.startswith("linux")
_PARENT_DEATH, _NO_NEW_RIGHTS, _SECCOMP, _FILTER = 1, 38, 22, 2  # of prctl(2)
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # of classic BPF
_ALLOW, _REFUSE, _ABSENT = 0x7FFF0000, 0x00050001, 0x00050026  # go on; fail with EPERM; fail with ENOSYS
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # where they stand in seccomp_data (the low half, little-endian)
_THREAD = 0x10000  # CLONE_THREAD
_OTHER_NUMBERS = 0x40000000  # x32's, from which they begin anew
_REFUSED = (
    *("socket", "connect", "execve", "execveat", "fork", "vfork", "ptrace", "process_vm_readv", "process_vm_writev"),
    *("pidfd_open", "pidfd_send_signal", "io_uring_setup", "unshare", "setns", "bpf"),
)
_CONNECTING = ("socket", "connect")
_NUMBERS = {
    "x86_64": (
        0xC000003E,
        {"socket": 41, "connect": 42, "clone": 56, "fork": 57, "vfork": 58, "execve": 59, "kill": 62, "ptrace": 101}
        | {"tkill": 200, "tgkill": 234, "unshare": 272, "setns": 308, "process_vm_readv": 310}
        | {"process_vm_writev": 311, "bpf": 321, "execveat": 322},
    ),
    "aarch64": (
        0xC00000B7,
        {"unshare": 97, "ptrace": 117, "kill": 129, "tkill": 130, "tgkill": 131, "socket": 198, "connect": 203}
        | {"clone": 220, "execve": 221, "setns": 268, "process_vm_readv": 270, "process_vm_writev": 271, "bpf": 280}
        | {"execveat": 281},
    ),
}
_NEWER = {"pidfd_send_signal": 424, "io_uring_setup": 425, "pidfd_open": 434, "clone3": 435}  # the same everywhere


def confine(memory: int, may: str = NOTHING) -> None:
    """Bound this process for good. It must have one thread.

    memory: bytes that it may take beyond those it has. may: NOTHING more than
    compute and read; CONNECT, too; or ANYTHING, so that the limits of memory and time alone hold.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if may != ANYTHING:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    if not LINUX:
        if may != ANYTHING:
            resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PARENT_DEATH, signal.SIGKILL, 0, 0, 0)
    most = _within(resource.RLIMIT_DATA, _data() + memory)  # writable memory, not what is only reserved
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    if may != ANYTHING and platform.machine() in _NUMBERS:
        with suppress(OSError):  # a kernel without filters: as elsewhere, the limits alone hold
            _filter_calls(libc, network=may == CONNECT)


def allow(seconds: float) -> None:
    """End this process after so many more seconds of processor time, all threads together."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    end = _within(resource.RLIMIT_CPU, math.ceil(used + seconds) + 1)
    resource.setrlimit(resource.RLIMIT_CPU, (end, hard))  # should the timer be undone


def owners_memory() -> float:
    """Bytes of writable memory that the owner of the machine lets a process have; infinite without such a limit."""
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    return math.inf if hard == resource.RLIM_INFINITY else hard


def _within(kind: int, limit: int) -> int:
    """The limit, or the owner's own where that is lower and so cannot be raised."""
    hard = resource.getrlimit(kind)[1]
    return limit if hard == resource.RLIM_INFINITY else min(limit, hard)


def _data() -> int:
    """Bytes of writable memory that this process has."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData:"))


def _filter_calls(libc: ctypes.CDLL, network: bool) -> None:
    """Install the filter; OSError if the kernel has none."""
    program = _program(*_NUMBERS[platform.machine()], network)
    code = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: a 16-bit length, padded, and a pointer
    head = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code)))
    if libc.prctl(_NO_NEW_RIGHTS, 1, 0, 0, 0) or libc.prctl(_SECCOMP, _FILTER, head, 0, 0):
        raise OSError(ctypes.get_errno(), "the kernel takes no filter of system calls")


def _program(architecture: int, numbers: dict[str, int], network: bool) -> bytes:
    """The filter in classic BPF: one rule after the other, each of which returns or falls through to the next."""
    own, numbers = os.getpid(), numbers | _NEWER
    refused = [name for name in _REFUSED if name in numbers and not (network and name in _CONNECTING)]
    rules = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        *_unless(_EQUAL, architecture, _REFUSE),
        (_LOAD, 0, 0, _NUMBER),
        *_if(_AT_LEAST, _OTHER_NUMBERS, _REFUSE),
        *(rule for name in refused for rule in _if(_EQUAL, numbers[name], _REFUSE)),
        *_if(_EQUAL, numbers["tkill"], _REFUSE),
        *_if(_EQUAL, numbers["clone3"], _ABSENT),  # whose arguments a filter cannot see; libraries then take clone
    ]
    for name, test, value in (("clone", _ANY_BIT, _THREAD), ("kill", _EQUAL, own), ("tgkill", _EQUAL, own)):
        rules += [
            (_EQUAL, 0, 4, numbers[name]),
            (_LOAD, 0, 0, _FIRST_ARGUMENT),
            (test, 0, 1, value),
            (_RETURN, 0, 0, _ALLOW),
            (_RETURN, 0, 0, _REFUSE),
        ]
    rules.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("HBBI", *rule) for rule in rules)


def _if(test: int, value: int, answer: int) -> Sequence[tuple[int, int, int, int]]:
    return (test, 0, 1, value), (_RETURN, 0, 0, answer)


def _unless(test: int, value: int, answer: int) -> Sequence[tuple[int, int, int, int]]:
    return (test, 1, 0, value), (_RETURN, 0, 0, answer)
