"""Whole numbers of a few bits packed into words of 32, times a scale for each group of columns.

compressed-tensors (pack-quantized), GPTQ, AWQ and MLX's affine mode. In all of them the first number lies in the lowest
bits, but for AWQ, which takes eight columns in another order; GPTQ and AWQ store the transpose.
"""

import torch

from projlens_core.errors import InvalidInput
from projlens_core.weights.grid import ValueGrid
from projlens_core.weights.quantised.scaled import groups
from projlens_core.weights.quantised.tensor import Parts, as_bytes, check, read, unfit
from projlens_core.weights.stored import FLOATS

_WORD = 32
_BITS = (2, 4, 8)
_WORDS = ("int32", "uint32")
_AWQ_ORDER = [0, 4, 1, 5, 2, 6, 3, 7]  # the column of eight → where its number lies in the word
_INDICES = ("int32", "int64", "int16")


class Packed:
    """compressed-tensors. Parts: packed, scale, shape, and perhaps zero and order (the group of each column).

    bits as the config says; None leaves it to the sizes.
    """

    def __init__(self, bits: int | None):
        self.bits = bits
        self.name = "compressed-tensors, packed" if bits is None else f"compressed-tensors {bits} bit"

    def shape(self, parts: Parts) -> tuple[int, ...]:
        """As the file says beside the codes."""
        check(parts["shape"], ("int64", "int32"), (2,), "two numbers")
        check(parts["packed"], _WORDS, (None, None), "packed whole numbers")
        rows, columns = read(parts, "shape").tolist()
        if rows != parts["packed"].shape[0] or not 0 < columns <= 16 * parts["packed"].shape[1]:
            raise unfit(parts["packed"], f"what makes a matrix of {(rows, columns)}")
        return rows, columns

    def values(self, parts: Parts) -> torch.Tensor:
        """(code − zero) · scale, codes counted from −2^(bits−1)."""
        rows, columns = self.shape(parts)
        bits = self._bits(parts)
        values = (unpacked(read(parts, "packed"), bits)[:, :columns] - 2 ** (bits - 1)).float()
        scale, by_row, by_column = self._scale(parts)
        if "zero" in parts:
            check(parts["zero"], _WORDS, (-(-rows * bits // _WORD), scale.shape[1]), "packed zero points, one a scale")
            zero = unpacked(read(parts, "zero").T, bits).T[:rows] - 2 ** (bits - 1)
            values -= zero.float()[:, by_column]
        return values * scale[by_row][:, by_column]

    def grid(self, parts: Parts) -> ValueGrid:
        """Multiples of the scale."""
        scale, rows, columns = self._scale(parts)
        return ValueGrid(scale.abs(), rows, columns, calibrated=True)

    def _bits(self, parts: Parts) -> int:
        words, columns = parts["packed"].shape[1], self.shape(parts)[1]
        fitting = [bits for bits in _BITS if -(-columns // (_WORD // bits)) == words and self.bits in (None, bits)]
        if len(fitting) != 1:
            raise unfit(parts["packed"], f"{self.bits or 'some'} bits for each of {columns:,} columns")
        return fitting[0]

    def _scale(self, parts: Parts) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        part, shape = parts["scale"], self.shape(parts)
        if part.dtype not in FLOATS or (len(part.shape) == 2 and part.shape[0] not in (1, shape[0])):
            raise unfit(part, f"scales of {shape[0]:,} rows")
        rows, columns = groups(part, shape)
        scale = read(parts, "scale").float().reshape(int(rows[-1]) + 1, int(columns[-1]) + 1)
        if "order" in parts:
            check(parts["order"], _INDICES, (shape[1],), f"the group of each of {shape[1]:,} columns")
            order = read(parts, "order").long()
            if not (order == -1).any():  # which stands for the order in which they lie
                columns = _within(order, scale.shape[1], parts)
        return scale, rows, columns


class Gptq:
    """Parts: qweight (inputs · bits/32, outputs), qzeros (groups, outputs · bits/32), scales (groups, outputs) and,
    where the config's group size does not say it, g_idx (inputs,), the group of each.

    less_one: whether zero points are stored less 1, as in all files but those of version 2.
    """

    def __init__(self, bits: int, group: int | None, less_one: bool):
        self.bits, self.group, self.less_one, self.name = bits, group, less_one, f"GPTQ {bits} bit"

    def shape(self, parts: Parts) -> tuple[int, ...]:
        """(outputs, inputs)."""
        check(parts["codes"], _WORDS, (None, None), "packed whole numbers")
        return parts["codes"].shape[1], parts["codes"].shape[0] * _WORD // self.bits

    def values(self, parts: Parts) -> torch.Tensor:
        """scale · (code − zero), turned."""
        scales, order = self._scales(parts)
        outputs = scales.shape[1]
        check(parts["zeros"], _WORDS, (scales.shape[0], outputs * self.bits // _WORD), "packed zero points")
        zeros = unpacked(read(parts, "zeros"), self.bits)
        if self.less_one:
            if (zeros == 2**self.bits - 1).any():
                raise InvalidInput(
                    f"{parts['zeros'].name[:80]!r} in {parts['zeros'].file.name} has zero points that overflow when 1 "
                    "is added, as this version of GPTQ's format asks; loaders differ in what they read: refused."
                )
            zeros = zeros + 1
        codes = unpacked(read(parts, "codes").T, self.bits)  # (outputs, inputs)
        return (codes - zeros.T[:, order]).float() * scales.T[:, order]

    def grid(self, parts: Parts) -> ValueGrid:
        """Multiples of the scale."""
        scales, order = self._scales(parts)
        return ValueGrid(scales.T.abs(), torch.arange(scales.shape[1]), order, calibrated=True)

    def _scales(self, parts: Parts) -> tuple[torch.Tensor, torch.Tensor]:
        outputs, inputs = self.shape(parts)
        check(parts["scales"], FLOATS, (None, outputs), f"scales of {outputs:,} outputs")
        count = parts["scales"].shape[0]
        if "order" in parts:
            check(parts["order"], _INDICES, (inputs,), f"the group of each of {inputs:,} inputs")
            order = _within(read(parts, "order").long(), count, parts)
        else:
            size = inputs if self.group is None else self.group
            if -(-inputs // size) != count:
                raise unfit(parts["scales"], f"one a group of {size:,} of {inputs:,} inputs")
            order = torch.arange(inputs) // size
        return read(parts, "scales").float(), order


class Awq:
    """AWQ's "gemm" form, 4 bits. Parts: codes (inputs, outputs/8), zeros (groups, outputs/8), scales (groups,
    outputs)."""

    name = "AWQ 4 bit"

    def shape(self, parts: Parts) -> tuple[int, ...]:
        """(outputs, inputs)."""
        check(parts["codes"], _WORDS, (None, None), "packed whole numbers")
        return parts["codes"].shape[1] * 8, parts["codes"].shape[0]

    def values(self, parts: Parts) -> torch.Tensor:
        """scale · (code − zero), turned."""
        scales, order = self._scales(parts)
        check(parts["zeros"], _WORDS, (scales.shape[0], parts["codes"].shape[1]), "packed zero points")
        codes, zeros = (_awq(read(parts, what)) for what in ("codes", "zeros"))
        return ((codes - zeros[order]).float() * scales[order]).T.contiguous()

    def grid(self, parts: Parts) -> ValueGrid:
        """Multiples of the scale."""
        scales, order = self._scales(parts)
        return ValueGrid(scales.T.abs(), torch.arange(scales.shape[1]), order, calibrated=True)

    def _scales(self, parts: Parts) -> tuple[torch.Tensor, torch.Tensor]:
        outputs, inputs = self.shape(parts)
        check(parts["scales"], FLOATS, (None, outputs), f"scales of {outputs:,} outputs")
        count = parts["scales"].shape[0]
        if not count or inputs % count:
            raise unfit(parts["scales"], f"as many groups of one size as make {inputs:,} inputs")
        return read(parts, "scales").float(), torch.arange(inputs) // (inputs // count)


class Mlx:
    """MLX's affine mode. Parts: codes (rows, columns · bits/32), scales and biases (rows, groups)."""

    def __init__(self, bits: int, group: int):
        self.bits, self.group, self.name = bits, group, f"MLX {bits} bit"

    def shape(self, parts: Parts) -> tuple[int, ...]:
        """As many columns as fill the words."""
        check(parts["codes"], ("uint32",), (None, None), "packed whole numbers")
        rows, words = parts["codes"].shape
        columns = words * _WORD // self.bits
        for what in ("scales", "biases"):
            check(parts[what], FLOATS, (rows, columns // self.group), f"one a group of {self.group}")
        if columns * self.bits != words * _WORD or columns % self.group:
            raise unfit(parts["codes"], f"{self.bits} bits each, in groups of {self.group}")
        return rows, columns

    def values(self, parts: Parts) -> torch.Tensor:
        """scale · code + bias."""
        _, columns = self.shape(parts)
        order = torch.arange(columns) // self.group
        scales, biases = (read(parts, what).float()[:, order] for what in ("scales", "biases"))
        return unpacked(read(parts, "codes"), self.bits).float() * scales + biases

    def grid(self, parts: Parts) -> ValueGrid:
        """Multiples of the scale, from the bias on."""
        rows, columns = self.shape(parts)
        return ValueGrid(read(parts, "scales").float().abs(), torch.arange(rows), torch.arange(columns) // self.group)


def unpacked(words: torch.Tensor, bits: int) -> torch.Tensor:
    """(rows, words) → (rows, words · 32/bits) int32: each row a stream of bits, the lowest of a word first."""
    words = words.contiguous()
    if _WORD % bits == 0:
        shifts = torch.arange(0, _WORD, bits, dtype=torch.int32)
        found = (words.view(torch.int32)[..., None] >> shifts) & (2**bits - 1)
        return found.reshape(len(words), -1)
    stream = as_bytes(words).reshape(len(words), -1)  # numbers lie across the ends of words
    single = ((stream[..., None] >> torch.arange(8, dtype=torch.uint8)) & 1).reshape(len(words), -1, bits)
    return (single.int() << torch.arange(bits, dtype=torch.int32)).sum(-1, dtype=torch.int32)


def _awq(words: torch.Tensor) -> torch.Tensor:
    """(rows, words) → (rows, 8 · words) in the order of columns."""
    return unpacked(words, 4).reshape(len(words), -1, 8)[..., _AWQ_ORDER].reshape(len(words), -1)


def _within(order: torch.Tensor, count: int, parts: Parts) -> torch.Tensor:
    if order.numel() and not 0 <= int(order.min()) <= int(order.max()) < count:
        raise unfit(parts["order"], f"groups from 0 to {count - 1}")
    return order
