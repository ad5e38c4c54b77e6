"""Suspect − base per tensor: what changed, what did not, what was not compared."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.runtime.text import listed, printable
from projlens_core.weights.grid import ValueGrid
from projlens_core.weights.projector import ProjectorWeights
from projlens_core.weights.rounding import RoundingFloor, rounding_floor
from projlens_core.weights.stored import PART

_LISTED = 40  # tensors that were not compared, by their names
_SUBSCRIPT = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


@dataclass(frozen=True)
class TensorDelta:
    """ΔW = suspect − base of one tensor.

    frobenius: ‖Δ‖₂ over all entries. relative_change: ‖Δ‖/‖base‖, 0 if both are zero, inf if only the base is.
    cosine: between base and suspect as vectors, −1 to 1, nan if either is zero. changed: whether any entry differs at
    all. rounding: what rounding alone would leave, None where that is not known.
    """

    name: str
    shape: tuple[int, ...]
    frobenius: float
    relative_change: float
    cosine: float
    changed: bool
    rounding: RoundingFloor | None
    base: torch.Tensor = field(repr=False)
    suspect: torch.Tensor = field(repr=False)

    @property
    def delta(self) -> torch.Tensor:
        """ΔW itself, float32: computed each time (a tenth of a second for 4096 × 4096), since keeping it would take
        more memory than both weights in 16 bits."""
        delta = torch.empty(self.shape)
        for part, (base, suspect) in zip(delta.view(-1).split(PART), _parts(self.base, self.suspect), strict=True):
            torch.sub(suspect, base, out=part)
        return delta


def symbol(number: int) -> str:
    """The change of the number-th matrix, from 1 on, as the paper writes it: ΔW₁."""
    return f"ΔW{str(number).translate(_SUBSCRIPT)}"


@dataclass(frozen=True)
class Delta:
    """All tensor deltas in running order, tensors beside the projector last.

    uncompared: (what, why) of tensors that belong to a projector and were not compared, which may hold a change;
    elsewhere: the same of all other tensors of the suspect. settings_changed: (setting, base's, suspect's), differences
    in the configs that change what the projector computes without touching a weight.
    """

    base: ProjectorWeights
    suspect: ProjectorWeights
    tensors: tuple[TensorDelta, ...]
    settings_changed: tuple[tuple[str, str, str], ...]
    uncompared: tuple[tuple[str, str], ...]
    elsewhere: tuple[tuple[str, str], ...]

    @property
    def matrices(self) -> tuple[TensorDelta, ...]:
        """The 2-D tensors, those that have a singular spectrum."""
        return tuple(tensor for tensor in self.tensors if len(tensor.shape) == 2)

    @property
    def changed(self) -> bool:
        """Whether anything that was compared differs."""
        return bool(self.settings_changed) or any(tensor.changed for tensor in self.tensors)

    @property
    def equal(self) -> bool:
        """Whether the projectors are equal in every value: nothing differs, and all of both was compared."""
        return not (self.changed or self.uncompared)

    @property
    def not_compared(self) -> tuple[tuple[str, str], ...]:
        """All that was not compared, the projector's own first: (what, why)."""
        return self.uncompared + self.elsewhere


def compare(base: ProjectorWeights, suspect: ProjectorWeights) -> Delta:
    """The difference of two projectors of the same build; InvalidInput, listing every mismatch, if they differ in it.

    Differences are taken in float32, which holds every 16-bit weight exactly.
    """
    if base.family.layers != suspect.family.layers:
        raise InvalidInput(
            f"The base {base.source} is a {base.family.title} projector and the suspect {suspect.source} "
            f"a {suspect.family.title} one; give two models of the same family."
        )
    _check_same_shapes(base, suspect)
    ours, theirs = base.tensors | base.adjacent, suspect.tensors | suspect.adjacent
    tensors = tuple(
        _tensor_delta(
            name,
            ours[name],
            theirs[name],
            (base.stored.get(name, base.dtype), suspect.stored.get(name, suspect.dtype)),
            (base.grids.get(name), suspect.grids.get(name)),
        )
        for name in ours
        if name in theirs
    )
    elsewhere = [
        (module, f"{count} tensor{'s' if count > 1 else ''} of the suspect outside the projector")
        for module, count in suspect.others
    ]
    changed = tuple(
        (name, str(own), str(suspect.settings[name]))
        for name, own in base.settings.items()
        if own != suspect.settings[name]
    )
    return Delta(base, suspect, tensors, changed, _uncompared(base, suspect), tuple(elsewhere))


def check_same_input(base: ProjectorWeights, suspect: ProjectorWeights) -> None:
    """Unsupported if what acts before the first layer differs: then the two read different tokens of one image, and
    no shift of their embeddings is the projector's alone. Rounding to the narrower of two types is no difference.

    A lone projector file has nothing of the kind and reads the other's tokens; what only one of two has that hold some
    is a difference.
    """
    ours, theirs = (set(filter(base.family.is_upstream, weights.adjacent)) for weights in (base, suspect))
    changed = sorted(ours ^ theirs) if ours and theirs else []
    for name in sorted(ours & theirs):
        a, b = base.adjacent[name], suspect.adjacent[name]
        narrower = min(a.dtype, b.dtype, key=lambda dtype: dtype.itemsize)
        if not torch.equal(a.to(narrower), b.to(narrower)):
            changed.append(name)
    if changed:
        raise Unsupported(
            f"{suspect.source} differs from {base.source} in {listed(changed)}, before the projector's first "
            "layer, so their projectors read different tokens of the same image and their embeddings cannot be "
            "compared; compare the two by their weights and by their answers."
        )


def _tensor_delta(
    name: str,
    base: torch.Tensor,
    suspect: torch.Tensor,
    stored: tuple[str, str],
    grids: tuple[ValueGrid | None, ValueGrid | None],
) -> TensorDelta:
    # Norms accumulate in float64: over 16 million float32 entries a float32 sum loses digits that a small delta needs.
    squares = torch.zeros(3, dtype=torch.float64)
    changed = False
    for ours, theirs in _parts(base, suspect):
        delta = theirs - ours
        changed = changed or bool(delta.any())
        norms = [torch.linalg.vector_norm(part, dtype=torch.float64) for part in (ours, theirs, delta)]
        squares += torch.stack(norms) ** 2
    b, s, d = squares.sqrt().tolist()
    if d == float("inf"):
        raise InvalidInput(f"Base and suspect differ in {name} by more than float32 can hold; one of them is damaged.")
    relative = d / b if b else (float("inf") if d else 0.0)
    # ‖s − b‖² = s² + b² − 2·s·b·cos; from the norms, so no further pass over the weights.
    cosine = max(-1.0, min(1.0, (b * b + s * s - d * d) / (2 * b * s))) if b and s else float("nan")
    floor = rounding_floor(base, suspect, *stored, grids)
    return TensorDelta(name, tuple(base.shape), d, relative, cosine, changed, floor, base, suspect)


def _parts(base: torch.Tensor, suspect: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Both as float32, a part of them at a time, so that no such copy of the whole is made."""
    for ours, theirs in zip(base.reshape(-1).split(PART), suspect.reshape(-1).split(PART), strict=True):
        yield ours.float(), theirs.float()


def _check_same_shapes(base: ProjectorWeights, suspect: ProjectorWeights) -> None:
    differences = []
    for name in sorted(base.tensors.keys() | suspect.tensors.keys()):
        ours, theirs = (tuple(w.tensors[name].shape) if name in w.tensors else None for w in (base, suspect))
        if ours != theirs:
            differences.append(f"{name} is {ours or 'absent'} in the base and {theirs or 'absent'} in the suspect")
    for name in sorted(base.adjacent.keys() & suspect.adjacent.keys()):
        ours, theirs = (tuple(w.adjacent[name].shape) for w in (base, suspect))
        if ours != theirs:
            differences.append(f"{name} is {ours} in the base and {theirs} in the suspect")
    if differences:
        raise InvalidInput(
            f"{suspect.source} cannot be a fine-tune of {base.source}: {'; '.join(differences)}. Give its own base."
        )


def _uncompared(base: ProjectorWeights, suspect: ProjectorWeights) -> tuple[tuple[str, str], ...]:
    found = []
    for role, one, other in (("base", base, suspect), ("suspect", suspect, base)):
        found += [
            (printable(name), f"only in the {role}") for name in sorted(one.adjacent.keys() - other.adjacent.keys())
        ]
        why = f"in the {role}; it belongs to a projector by its name, but {one.family.title} has no such tensor"
        found += [(printable(name), why) for name in one.unread[:_LISTED]]
        if len(one.unread) > _LISTED:
            found.append((f"{len(one.unread) - _LISTED:,} more tensors", f"in the {role}, of such names"))
    return tuple(found)
