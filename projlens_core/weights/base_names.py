"""Under which of its names a base holds what an adapter changes, however either of them spells it."""

from bisect import bisect_left
from functools import cached_property

from projlens_core.errors import ProjLensError
from projlens_core.weights.checkpoint import Checkpoint
from projlens_core.weights.families import FamilyMatch, canonical, match, split_layout
from projlens_core.weights.names import by_plain_name, plain


def known_projector(checkpoint: Checkpoint, family: str | None = None) -> FamilyMatch | None:
    """Where the projector lies; None where there is none that is known: whoever asks for it will be told."""
    model_type = (checkpoint.config or {}).get("model_type")
    try:
        return match(checkpoint.names, model_type if isinstance(model_type, str) else None, checkpoint.label, family)
    except ProjLensError:
        return None


class BaseNames:
    """The names of a base's tensors, found by what an adapter calls them: as they stand, without wrappers, or for the
    projector by the family's own name."""

    def __init__(self, base: Checkpoint):
        self._base = base
        self.label = base.label
        self._names = frozenset(base.names)

    @cached_property
    def _plain(self) -> tuple[dict[str, str], tuple[str, ...]]:
        return by_plain_name(self._base.names)

    @cached_property
    def _sorted(self) -> list[str]:
        return sorted(self._plain[0])

    @property
    def ambiguous(self) -> tuple[str, ...]:
        """Names of the base that are the same without their wrappers."""
        return self._plain[1]

    @cached_property
    def _match(self) -> FamilyMatch | None:
        return known_projector(self._base)

    @cached_property
    def projector(self) -> frozenset[str]:
        """The stored names of the base's projector and what lies beside it; empty where it is of no known family."""
        return self._match.stored if self._match else frozenset()

    def find(self, name: str) -> str | None:
        """The base's name of the tensor, None if it holds none."""
        if name in self._names:
            return name
        if (found := self._plain[0].get(plain(name))) is not None:
            return found
        if self._match is None or split_layout(name) is None:
            return None
        own = canonical(self._match.family, name)
        return (self._match.tensors | self._match.adjacent).get(own) if own else None

    def within(self, module: str) -> list[str]:
        """The base's names of all that the module holds."""
        start = plain(f"{module}.")
        first, last = (bisect_left(self._sorted, bound) for bound in (start, f"{start[:-1]}/"))  # "/" is next to "."
        return [self._plain[0][short] for short in self._sorted[first:last]] if start else []

    def weight(self, module: str) -> str | None:
        """The base's name of what factors of this module are added to; of an attention, the joined matrices."""
        return self.find(f"{module}.weight") or self.find(f"{module}.in_proj_weight")
