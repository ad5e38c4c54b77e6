"""Too little memory or disk, told in one sentence wherever it is noticed: every library says it in its own way."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from safetensors import SafetensorError

from projlens_core.errors import ProjLensError, Shortage

_NO_MEMORY = ("can't allocate memory", "cannot allocate memory", "not enough memory", "out of memory")
_NO_DISK = ("no space left on device", "file too large", "disk quota exceeded", "pytorchstreamwriter failed writing")
_ENDED = "dataloader worker (pid"
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_MEMORY_LEFT = (
    "There is too little memory for this; use fewer or smaller images, close other programs, or take a machine with "
    "more of it."
)
_NO_CARD = (
    "The graphics card has too little memory for this; use fewer or smaller images, or compute on the processor "
    "with PROJLENS_DEVICE=cpu."
)
_NO_SPACE_LEFT = (
    "There is too little space on the disk for this; free some, or set $PROJLENS_CACHE to a folder on another disk."
)
WORKER_ENDED = (
    "A process that prepares images was ended from outside, as happens where memory runs out; close other programs "
    "and give the same command again: it goes on from what was kept."
)


@contextmanager
def named() -> Iterator[None]:
    """Raise Shortage for what fails in the block for want of memory or disk; anything else goes on as it is.

    An error of ours that was made of a lack of memory counts, too: readers take what a library raises for a broken
    file. One that was made of a full disk says so itself.
    """
    try:
        yield
    except (MemoryError, RuntimeError, OSError, SafetensorError, ProjLensError) as error:
        if isinstance(error, Shortage) or (sentence := _sentence(error)) is None:
            raise
        raise Shortage(sentence) from error


def of_memory(error: BaseException) -> bool:
    """Whether the error, or one that it came from, is of a lack of memory."""
    return _sentence_of_memory(error) is not None


def _sentence(error: BaseException) -> str | None:
    """What to say if the error is of want; else None."""
    if isinstance(error, ProjLensError):
        return _sentence_of_memory(error.__cause__)
    if _number(error) in _DISK or any(sign in _said(error) for sign in _NO_DISK):
        return _NO_SPACE_LEFT
    return WORKER_ENDED if _said(error).startswith(_ENDED) else _sentence_of_memory(error)


def _sentence_of_memory(error: BaseException | None) -> str | None:
    """The same for memory alone, of the error or of one that it came from."""
    if error is None:
        return None
    said = _said(error)
    if isinstance(error, MemoryError) or _number(error) == errno.ENOMEM or any(sign in said for sign in _NO_MEMORY):
        return _NO_CARD if "cuda" in said or "mps" in said else _NO_MEMORY_LEFT
    return _sentence_of_memory(error.__cause__)


def _number(error: BaseException) -> int | None:
    return error.errno if isinstance(error, OSError) else None


def _said(error: BaseException) -> str:
    """The error's own words; not those beside a number, nor ours, which may quote a file's name that says anything."""
    return "" if _number(error) is not None or isinstance(error, ProjLensError) else str(error).lower()
