"""Errors that a user may cause: one sentence each, saying what was found, what was expected, what to do.

Everything else that is raised is a defect of ProjLens and keeps its traceback.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from projlens_core.runtime.text import printable

PANIC = "PanicException"  # what a panic in Rust becomes in Python


class ProjLensError(Exception):
    """Base of every error whose message is meant for the user as it stands."""


class InvalidInput(ProjLensError, ValueError):
    """Something was read and is not what it must be: a broken image, NaN in a weight, a wrong shape."""


class NotFound(ProjLensError, LookupError):
    """Something named does not exist; the message lists what does."""


class Unsupported(ProjLensError, NotImplementedError):
    """Well-formed, but not something this version can analyse; never to be shown as zero or as clean."""


class Shortage(ProjLensError):
    """The machine has too little memory, or too little space on a disk; the message says how to need less."""


class Cancelled(ProjLensError):
    """The user stopped a run; finished parts are kept."""


@contextmanager
def as_invalid_input(failed: str) -> Iterator[None]:
    """Whatever a library raises over what nobody vouches for, as InvalidInput: `failed`, and in its words why.

    No list names what may be raised: libraries have errors of their own, and panics, which are no Exception. Errors of
    ours, a lack of memory, and what steers the program (Ctrl-C, exits, a page that is run anew) pass as they are.
    """
    try:
        yield
    except (ProjLensError, MemoryError):
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != PANIC:
            raise
        raise InvalidInput(f"{failed}: {words(error)}") from error


def words(error: BaseException) -> str:
    """What an error of a library says, on one line and shortened; its kind where that alone would say little."""
    said = printable(" ".join(str(error).split())[:300]) if str(error).strip() else ""
    kind = type(error).__name__
    return f"{kind}: {said}" if said and isinstance(error, LookupError) else said or kind
