"""Values that may be absent in general, where it is already settled that they are there."""

from typing import TypeVar

T = TypeVar("T")


def required(value: T | None, what: str) -> T:
    """The value; TypeError, which is a defect of ProjLens and no user's mistake, if there is none after all."""
    if value is None:
        raise TypeError(f"{what} is missing, though it was settled before that it is there")
    return value
