"""The rounding floor of a delta: how large it would be from rounding alone, and how far its spectrum would reach.

A weight stored with few significant bits is off by up to half a step, evenly spread: variance step²/12, independent
of its neighbours (Widrow & Kollár 2008). Such noise has full rank: it fills the whole spectrum, and what lies below
its largest singular value cannot be told from it.
"""

from dataclasses import dataclass
from functools import reduce
from operator import add

import torch

from projlens_core.weights.grid import ValueGrid
from projlens_core.weights.stored import ADAPTED

_BITS = {"bfloat16": 8, "float16": 11, "float32": 24, "float64": 24, ADAPTED: 24}  # significant; read as float32
_SMALLEST = {"float16": 2.0**-24}  # the step below which a type's numbers do not get finer; else far below any weight
# GGUF block types whose values lie on a regular grid: values per block, steps between the block's ends, and whether
# the grid is centred on zero (its step then follows from the largest magnitude, not from both ends).
_BLOCKS = {
    "Q8_0": (32, 254, True),
    "Q4_0": (32, 16, True),
    "Q5_0": (32, 32, True),
    "Q4_1": (32, 15, False),
    "Q5_1": (32, 31, False),
}
_ROWS = 64  # handled at a time, so that the steps of a 4096 × 4096 matrix take a few MB


@dataclass(frozen=True)
class RoundingFloor:
    """What rounding alone would leave in a delta: its Frobenius norm, and for a matrix (else None) its largest
    singular value. cause: which roundings are counted, for people. upper: whether the base's is among them although
    the fine-tune may have begun after it; then the true floor may be lower. quantised: whether one of them is to
    blocks or codes. least: whether the quantiser may have moved weights further than to the nearest number; then the
    true floor may be higher."""

    frobenius: float
    sigma: float | None
    cause: str
    upper: bool
    quantised: bool = False
    least: bool = False


def rounding_floor(
    base: torch.Tensor,
    suspect: torch.Tensor,
    base_stored: str,
    suspect_stored: str,
    grids: tuple[ValueGrid | None, ValueGrid | None] = (None, None),
) -> RoundingFloor | None:
    """The floor of suspect − base, tensors of one shape, whose values were written as base_stored and suspect_stored
    (see ProjectorWeights.tensors, stored and grids; grids are the base's and the suspect's); None where it is not
    known, as for types without a regular grid.

    Counted are the suspect's own rounding, and the base's where it was written in another type or quantised: then both
    may be roundings of one finer original. Where only the suspect's counts, an entry equal to the base's was not
    written anew and carries none; equal tensors carry none at all. float32 values that all fit 16 bits count as what
    they fit, since only a conversion leaves such.
    The largest singular value of independent entries with variances vᵢⱼ is max √Σⱼvᵢⱼ + max √Σᵢvᵢⱼ, the longest row
    plus the longest column (Bandeira & van Handel 2016), which for equal variances v is √v·(√rows + √columns).
    """
    kinds = {"suspect's": _type(suspect, suspect_stored)}
    finer = {"suspect's": grids[1], "base's": grids[0]}
    if suspect_stored != ADAPTED:  # which was added to the base just as it is stored
        ours = _type(base, base_stored)
        if grids[0] is not None or ours in _BLOCKS or ours != kinds["suspect's"]:
            kinds["base's"] = ours
    if not all(finer[role] is not None or _known(kind, suspect.shape) for role, kind in kinds.items()):
        return None
    shape = (suspect.shape[0], -1) if suspect.ndim > 1 else (1, -1)
    by_row, by_column, changed = [], torch.zeros(suspect.reshape(shape).shape[1], dtype=torch.float64), False
    blocks = zip(*(tensor.reshape(shape).split(_ROWS) for tensor in (base, suspect)), strict=True)
    for number, (old, new) in enumerate(blocks):
        values = {"suspect's": new.float(), "base's": old.float()}
        first = number * _ROWS
        variance = reduce(add, (_variance(values[role], kind, finer[role], first) for role, kind in kinds.items()))
        moved = values["suspect's"] != values["base's"]
        changed = changed or bool(moved.any())
        if len(kinds) == 1:
            variance *= moved
        by_row.append(variance.sum(1, dtype=torch.float64))
        by_column += variance.sum(0, dtype=torch.float64)
    row_variance, by_column = torch.cat(by_row) * changed, by_column * changed  # equal values carry none
    matrix = suspect.ndim == 2 and suspect.numel() > 0
    return RoundingFloor(
        frobenius=row_variance.sum().sqrt().item(),
        sigma=(row_variance.max().sqrt() + by_column.max().sqrt()).item() if matrix else None,
        cause=" and ".join(f"{role} to {kind}" for role, kind in kinds.items()),
        upper="base's" in kinds,
        quantised=any(finer[role] is not None or kind in _BLOCKS for role, kind in kinds.items()),
        least=any(grid.calibrated for role, grid in finer.items() if grid is not None and role in kinds),
    )


def _variance(values: torch.Tensor, kind: str, grid: ValueGrid | None, first: int) -> torch.Tensor:
    """The variance of rounding each of `values`, the rows from `first` on, to the grid, or to the type without one."""
    return _squared_steps(values, kind) / 12 if grid is None else grid.variance(values, first)


def _type(values: torch.Tensor, stored: str) -> str:
    """The type whose rounding the values carry: the stored one, or the 16-bit one that float32 values all fit."""
    if stored not in ("float32", "float64"):
        return stored
    if not (values.contiguous().view(torch.int32) & 0xFFFF).any():
        return "bfloat16"
    return "float16" if torch.equal(values.half().float(), values) else stored


def _known(kind: str, shape: torch.Size) -> bool:
    return kind in _BITS or (kind in _BLOCKS and len(shape) > 0 and shape[-1] % _BLOCKS[kind][0] == 0)


def _squared_steps(values: torch.Tensor, kind: str) -> torch.Tensor:
    """The square of the distance between neighbouring numbers of the stored type around each value (rows, columns)."""
    if kind in _BLOCKS:
        return _block_steps(values, kind) ** 2
    # A float32 with its sign and fraction cleared is the power of two below its magnitude; the step is a fixed
    # fraction of that.
    power = (values.contiguous().view(torch.int32) & 0x7F800000).view(torch.float32)
    steps = power * 2.0 ** (1 - _BITS[kind])
    return (steps.clamp_min(_SMALLEST[kind]) if kind in _SMALLEST else steps) ** 2


def _block_steps(values: torch.Tensor, kind: str) -> torch.Tensor:
    size, count, centred = _BLOCKS[kind]
    blocks = values.reshape(-1, size)  # rows are whole blocks
    span = 2 * blocks.abs().amax(1) if centred else blocks.amax(1) - blocks.amin(1)
    return (span / count).repeat_interleave(size).reshape(values.shape)
