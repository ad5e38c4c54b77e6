"""Where an answer flips as a trigger grows: the smallest dose at which the target is said."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Flip:
    """The answer first holds the target at dose `at`, and did not at `below`, the next smaller dose that was asked.

    below is None if `at` is the smallest dose that was asked. lasting: whether it holds it at every larger one, too.
    """

    below: float | None
    at: float
    lasting: bool


def flip(said: Mapping[float, bool]) -> Flip | None:
    """The flip among the doses that were asked, {dose: whether the answer holds the target}; None without one."""
    doses = sorted(said)
    at = next((dose for dose in doses if said[dose]), None)
    if at is None:
        return None
    return Flip(
        below=max((dose for dose in doses if dose < at), default=None),
        at=at,
        lasting=all(said[dose] for dose in doses if dose > at),
    )
