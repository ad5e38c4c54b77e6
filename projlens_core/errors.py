"""Errors that a user may cause: one sentence each, saying what was found, what was expected, what to do.

Everything else that is raised is a defect of ProjLens and keeps its traceback.
"""

from collections.abc import Iterator
from contextlib import contextmanager


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


# What libraries raise over what they cannot read.
_LIBRARY = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


@contextmanager
def as_invalid_input(failed: str, *besides: type[Exception]) -> Iterator[None]:
    """What a library raises over files that nobody vouches for, as InvalidInput: `failed`, and in its words why.

    besides: kinds of error of the library's own that are none of Python's.
    """
    try:
        yield
    except (*_LIBRARY, *besides) as error:
        raise InvalidInput(f"{failed}: {' '.join(str(error).split())[:300]}") from error
