"""Models as callers name them, and two projectors compared without a case around them."""

import os

from projlens_core.cases.case import Case, read_projectors
from projlens_core.errors import InvalidInput
from projlens_core.weights import delta
from projlens_core.weights.delta import Delta
from projlens_core.weights.projector import ProjectorWeights

ModelName = str | os.PathLike[str]  # a path, zoo:NAME or hub:OWNER/NAME


def compare(base: ModelName | ProjectorWeights, suspect: ModelName | ProjectorWeights) -> Delta:
    """What changed from base to suspect, tensor by tensor: two models by path, zoo:NAME or hub:OWNER/NAME, or two
    projectors that were read.

    An adapter by its path is laid on base. Errors: as `read_projector`, InvalidInput where the two are not of one
    build.

    >>> import projlens_core as pl
    >>> delta = pl.compare("zoo:base", "zoo:targeted-refusal")
    >>> [tensor.name for tensor in delta.tensors if tensor.changed]
    ['linear_1.weight', 'linear_1.bias', 'linear_2.weight', 'linear_2.bias']
    """
    if isinstance(base, ProjectorWeights) and isinstance(suspect, ProjectorWeights):
        return delta.compare(base, suspect)
    if isinstance(base, ProjectorWeights) or isinstance(suspect, ProjectorWeights):
        raise InvalidInput("One of the two is a projector and the other a name; give two names or two projectors.")
    return delta.compare(*read_projectors([_name(base), _name(suspect)]))


def as_case(
    base: ModelName, suspect: ModelName, control: ModelName | None = None, *, projector_only: bool = False
) -> Case:
    """The case of models by name; InvalidInput for what is none."""
    return Case(_name(base), _name(suspect), None if control is None else _name(control), projector_only)


def _name(given: ModelName) -> str:
    if isinstance(given, str | os.PathLike):
        return os.fspath(given)
    raise InvalidInput(f"A model is a path, zoo:NAME or hub:OWNER/NAME, not {type(given).__name__}.")
