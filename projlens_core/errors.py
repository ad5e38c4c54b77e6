"""Errors that a user may cause: one sentence each, saying what was found, what was expected, what to do.

Everything else that is raised is a defect of ProjLens and keeps its traceback.
"""


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
