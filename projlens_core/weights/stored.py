"""One stored tensor: what a header says about it, and how its bytes become values."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from projlens_core.errors import InvalidInput
from projlens_core.runtime.text import printable
from projlens_core.weights.bytesource import ByteSource

MAX_HEADER = 100_000_000  # bytes of a header; the limit of safetensors' reference implementation
MAX_TENSORS = 100_000  # in one file
MAX_NAMES = 300_000  # in all files of a checkpoint; the largest mixtures of experts have some 140,000
MAX_NAME = 500  # characters of a tensor's name
MAX_TENSOR = 4 * 2**30  # bytes of one tensor read as a whole; the largest projector matrices have 1 % of it
MAX_DIMENSIONS = 8
PART = 2**18  # values that are worked on at a time where the whole tensor would need copies of itself
ADAPTED = "adapter"  # how a tensor is stored that is a base's plus an adapter's delta
FLOATS = ("float16", "bfloat16", "float32", "float64")


@dataclass(frozen=True)
class TensorInfo:
    """One stored tensor: its shape, its dtype as torch names it ("bfloat16") or as GGUF does if quantised ("Q8_0"),
    and where in which file its nbytes begin.

    stride: in elements, for a pickled view that is not stored row by row; else None. offset: what is to be added to the
    stored values, where a format stores them moved. held: the values themselves, for
    formats that can only be read as a whole. parts: the stored tensors that are its own one after the other, along the
    first axis, where a format cuts it apart. split and axes: the shape in which the stored values lie, and the order
    in which its axes are this tensor's, where a format turns it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    nbytes: int
    file: ByteSource
    begin: int
    stride: tuple[int, ...] | None = None
    offset: float = 0.0
    held: torch.Tensor | None = field(default=None, repr=False, compare=False)
    parts: tuple["TensorInfo", ...] = ()
    split: tuple[int, ...] = ()
    axes: tuple[int, ...] = ()

    @property
    def quantised(self) -> bool:
        """Whether reading gives float32 values of a block-quantised GGUF tensor."""
        return not hasattr(torch, self.dtype)

    @property
    def numel(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    @property
    def row_by_row(self) -> bool:
        """Whether the bytes are the values in order, so that a part of them is a part of the tensor."""
        return self.stride is None and self.held is None and not (self.offset or self.parts or self.axes)


def check_names(label: str, tensors: Mapping[str, TensorInfo], most: int) -> None:
    """InvalidInput for more tensors than `most`, or for a name longer than any model's: each is looked at often."""
    if len(tensors) > most:
        raise InvalidInput(f"{label} holds {len(tensors):,} tensors, more than the {most:,} that are read.")
    if long := next((name for name in tensors if len(name) > MAX_NAME), None):
        raise InvalidInput(
            f"{label} holds a tensor whose name has {len(long):,} characters ({printable(long[:40])}…), more than the "
            f"{MAX_NAME} that are read."
        )


def read_tensor(info: TensorInfo) -> torch.Tensor:
    """The tensor's values from its byte range alone: in their stored dtype, float32 if quantised."""
    if info.nbytes > MAX_TENSOR:
        raise InvalidInput(
            f"Tensor {info.name[:80]!r} in {info.file.name} has {info.nbytes:,} bytes, more than any that is read as "
            f"a whole ({MAX_TENSOR:,}); it is not what its name says."
        )
    if info.held is not None:
        return info.held
    if info.parts:
        values = torch.cat([read_tensor(part).reshape(-1) for part in info.parts])
    else:
        values = decode(info, info.file.read(info.begin, info.nbytes))
    if info.axes:
        values = values.reshape(info.split).permute(info.axes).contiguous()
    if info.offset:
        values = values.float() + info.offset
    if info.stride is None:
        return values.reshape(info.shape)
    return values.as_strided(info.shape, info.stride).contiguous()


def decode(info: TensorInfo, data: bytearray) -> torch.Tensor:
    """The values (n,) of a run of whole elements, or whole quantised blocks, of the tensor."""
    if info.quantised:
        from projlens_core.weights.gguf_values import dequantised  # only here: gguf's tables take a second

        return dequantised(data, info.dtype)
    dtype = getattr(torch, info.dtype)
    return torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)


def is_finite(tensor: torch.Tensor) -> bool:
    """Whether no value is NaN or infinite; in parts, as torch.isfinite takes more memory than the tensor."""
    return all(bool(torch.isfinite(part).all()) for part in tensor.reshape(-1).split(PART))


def dtype_name(dtype: torch.dtype) -> str:
    """As torch names it, without the module."""
    return str(dtype).removeprefix("torch.")
