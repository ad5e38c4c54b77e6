"""bitsandbytes: 4 bits from a table times the largest magnitude of each block, 8 bits times that of each row.

4 bit (Dettmers et al. 2023): blocks of values in order of rows, two codes a byte, the first in the high half. The
magnitudes may be quantised themselves, 8 bits from a table of 256 times a magnitude, plus an offset. 8 bit (Dettmers et
al. 2022): whole numbers, 127 of which make the row's largest magnitude.
"""

import math
from typing import TypeGuard

import torch

from projlens_core.errors import InvalidInput
from projlens_core.weights.grid import ValueGrid
from projlens_core.weights.quantised.tensor import Parts, as_bytes, check, read, unfit
from projlens_core.weights.tensorfile import parse_json

TABLES = {
    "nf4": (
        -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
        -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
        0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
    ),
    # a sign, two bits of exponent and one of fraction, over the largest
    "fp4": tuple(sign * x / 12 for sign in (1, -1) for x in (0, 0.0625, 8, 12, 4, 6, 2, 3)),
}  # fmt: skip
_FLOATS = ("float16", "bfloat16", "float32")
_STORAGE = ("uint8", "int8", *_FLOATS, "float64")
_MAX_STATE = 10_000  # bytes of the settings


def _is_side(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 < value < 2**31


class FourBit:
    """Parts: weight, absmax, quant_map, state; nested_absmax and nested_quant_map where magnitudes are quantised."""

    def __init__(self, kind: str):
        self.kind, self.name = kind, f"bitsandbytes {kind}"

    def shape(self, parts: Parts) -> tuple[int, ...]:
        """As its settings say."""
        return self._state(parts)[0]

    def values(self, parts: Parts) -> torch.Tensor:
        """Table times magnitude."""
        shape, block, _ = self._state(parts)
        count = math.prod(shape)
        if parts["weight"].dtype not in _STORAGE or parts["weight"].nbytes != (count + 1) // 2:
            raise unfit(parts["weight"], f"{(count + 1) // 2:,} bytes for the shape {shape}")
        packed = as_bytes(read(parts, "weight"))
        codes = torch.stack([packed >> 4, packed & 15], dim=1).reshape(-1)[:count]
        values = self._table(parts)[codes.int()]
        magnitudes = self._magnitudes(parts)
        whole = count // block * block
        values[:whole].view(-1, block).mul_(magnitudes[: whole // block, None])
        values[whole:] *= magnitudes[-1]
        return values

    def grid(self, parts: Parts) -> ValueGrid:
        """The table times each block's magnitude. That the magnitudes are rounded, too, adds next to nothing."""
        return ValueGrid(
            self._magnitudes(parts), run=self._state(parts)[1], levels=torch.tensor(sorted(set(TABLES[self.kind])))
        )

    def _state(self, parts: Parts) -> tuple[tuple[int, ...], int, dict]:
        """Shape, block size and all settings."""
        part = parts["state"]
        if part.dtype != "uint8" or part.nbytes > _MAX_STATE:
            raise unfit(part, "settings as JSON, in bytes")
        state = parse_json(bytes(read(parts, "state").tolist()), f"{part.name[:80]!r} in {part.file.name}")
        shape, block = state.get("shape"), state.get("blocksize", 0)
        sound = block in (32, 64, 128, 256, 512, 1024, 2048, 4096) and state.get("quant_type") == self.kind
        if not isinstance(shape, list) or not shape or not all(map(_is_side, shape)) or not sound:
            raise InvalidInput(
                f"{part.name[:80]!r} in {part.file.name} says shape {str(shape)[:40]}, blocksize {str(block)[:20]} and "
                f"type {str(state.get('quant_type'))[:20]!r}, expected those of a matrix in {self.kind}."
            )
        return tuple(shape), block, state

    def _table(self, parts: Parts) -> torch.Tensor:
        """The format's own, which loaders take; one in the file that differs is refused."""
        table = torch.tensor(TABLES[self.kind])
        check(parts["quant_map"], ("float32",), (16,), "16 numbers")
        if not torch.allclose(read(parts, "quant_map"), table, rtol=0, atol=1e-5):
            raise InvalidInput(
                f"{parts['quant_map'].name[:80]!r} in {parts['quant_map'].file.name} is not the table of "
                f"{self.kind}; loaders differ in which of the two they take: refused."
            )
        return table

    def _magnitudes(self, parts: Parts) -> torch.Tensor:
        """The largest magnitude of each block, float32."""
        shape, block, state = self._state(parts)
        blocks = -(-math.prod(shape) // block)
        if "nested_absmax" not in parts:
            check(parts["absmax"], ("float32",), (blocks,), f"{blocks:,} magnitudes")
            return read(parts, "absmax")
        nested, offset = state.get("nested_blocksize"), state.get("nested_offset")
        if not _is_side(nested) or not isinstance(offset, int | float) or isinstance(offset, bool):
            raise unfit(parts["state"], "a nested_blocksize and a nested_offset")
        outer = -(-blocks // nested)
        check(parts["absmax"], ("uint8",), (blocks,), f"{blocks:,} quantised magnitudes")
        check(parts["nested_quant_map"], ("float32",), (256,), "256 numbers")
        check(parts["nested_absmax"], ("float32",), (outer,), f"{outer:,} magnitudes of magnitudes")
        units = read(parts, "nested_absmax").repeat_interleave(nested)[:blocks]
        return read(parts, "nested_quant_map")[read(parts, "absmax").long()] * units + offset


class EightBit:
    """Parts: weight, SCB (each row's largest magnitude), and format, which says in which order the codes lie."""

    name = "bitsandbytes int8"

    def shape(self, parts: Parts) -> tuple[int, ...]:
        """The codes' own."""
        check(parts["weight"], ("int8",), (None, None), "whole numbers of 8 bits")
        return parts["weight"].shape

    def values(self, parts: Parts) -> torch.Tensor:
        """Codes times the row's magnitude over 127."""
        self.shape(parts)
        if "format" in parts and read(parts, "format").reshape(-1).tolist() != [0]:
            raise unfit(parts["format"], "0, codes row by row; others were made for one kind of device")
        return read(parts, "weight").float() * self._units(parts)

    def grid(self, parts: Parts) -> ValueGrid:
        """Whole multiples, row by row."""
        rows, columns = self.shape(parts)
        return ValueGrid(self._units(parts), torch.arange(rows), torch.zeros(columns, dtype=torch.long))

    def _units(self, parts: Parts) -> torch.Tensor:
        rows = parts["weight"].shape[0]
        check(parts["SCB"], _FLOATS, (rows,), f"{rows:,} magnitudes")
        return (read(parts, "SCB").float() / 127)[:, None]
