"""8-bit floats and integers times a scale: of the whole tensor, of each row, of groups of columns, or of blocks.

compressed-tensors (float-quantized, int-quantized), Fine-grained FP8 as DeepSeek released it, FBGEMM, ModelOpt's FP8.
"""

import torch

from projlens_core.weights.grid import ValueGrid
from projlens_core.weights.quantised.tensor import Parts, check, read, unfit
from projlens_core.weights.stored import TensorInfo

FLOATS8 = ("float8_e4m3fn", "float8_e5m2")
CODES = (*FLOATS8, "int8")
SCALES = ("float16", "bfloat16", "float32", "float8_e8m0fnu")
_SHOWN = {"float8_e4m3fn": "fp8 e4m3", "float8_e5m2": "fp8 e5m2", "int8": "int8"}


class Scaled:
    """Parts: weight, scale, and zero where codes are counted from another number than 0.

    block: (rows, columns) that share a scale, where the config or the format says so; strict: whether nothing else
    will do.
    """

    def __init__(self, dtype: str, block: tuple[int, int] | None, strict: bool = False):
        self.dtype, self.block, self.strict, self.name = dtype, block, strict, f"{_SHOWN[dtype]} with scales"

    def shape(self, parts: Parts) -> tuple[int, ...]:
        """The codes' own."""
        check(parts["weight"], (self.dtype,), (None, None), "a matrix")
        return parts["weight"].shape

    def values(self, parts: Parts) -> torch.Tensor:
        """(code − zero) · scale."""
        scale, rows, columns = self._scale(parts)
        codes = read(parts, "weight").float()
        if "zero" in parts:
            if parts["zero"].shape != parts["scale"].shape:
                raise unfit(parts["zero"], f"the shape of its scale, {parts['scale'].shape}")
            codes -= read(parts, "zero").float().reshape(scale.shape)[rows][:, columns]
        return codes * scale[rows][:, columns]

    def grid(self, parts: Parts) -> ValueGrid:
        """Multiples of the scale, or of the scale times an 8-bit float."""
        scale, rows, columns = self._scale(parts)
        if self.dtype in FLOATS8:
            return ValueGrid(scale.abs(), rows, columns, float8=self.dtype)
        return ValueGrid(scale.abs(), rows, columns, calibrated=True)

    def _scale(self, parts: Parts) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        part, shape = parts["scale"], self.shape(parts)
        if part.dtype not in SCALES:
            raise unfit(part, "a scale")
        rows, columns = groups(part, shape, self.block, self.strict)
        return read(parts, "scale").float().reshape(int(rows[-1]) + 1, int(columns[-1]) + 1), rows, columns


def groups(
    scale: TensorInfo, shape: tuple[int, ...], block: tuple[int, int] | None = None, strict: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Which row and which column of a tensor of scales belongs to each row (rows,) and column (columns,) of a matrix
    of `shape`: blocks of the given size, the last ones cut, or as many parts of one size as there are scales."""
    counts = (1, 1) if scale.numel == 1 else scale.shape
    if len(counts) == 1 and counts[0] == shape[0] != shape[1]:
        counts = (shape[0], 1)
    if len(counts) == 2 and all(shape) and all(counts):
        if block and all(-(-side // size) == n for side, n, size in zip(shape, counts, block, strict=True)):
            rows, columns = (torch.arange(side) // size for side, size in zip(shape, block, strict=True))
            return rows, columns
        if not strict and all(side % n == 0 for side, n in zip(shape, counts, strict=True)):
            rows, columns = (torch.arange(side) // (side // n) for side, n in zip(shape, counts, strict=True))
            return rows, columns
    size = f" of {block[0]} × {block[1]}" if block else ""
    raise unfit(scale, f"one scale, one a row, or one a block{size} of {shape}")
