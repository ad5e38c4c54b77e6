"""One tensor that is stored as several: what stands for it among a checkpoint's tensors."""

import math
from collections.abc import Mapping
from typing import NoReturn, Protocol

import torch

from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.weights.bytesource import ByteSource
from projlens_core.weights.grid import ValueGrid
from projlens_core.weights.stored import MAX_TENSOR, TensorInfo, read_tensor

Parts = Mapping[str, TensorInfo]  # by what they are in the format


class Format(Protocol):
    """How the parts of a quantised tensor make its values. name is how it is called to people: "bitsandbytes nf4".

    All of them raise InvalidInput for parts that do not fit each other, and may read parts.
    """

    name: str

    def shape(self, parts: Parts) -> tuple[int, ...]:
        """The tensor's own shape."""

    def values(self, parts: Parts) -> torch.Tensor:
        """float32, of that shape."""

    def grid(self, parts: Parts) -> ValueGrid | None:
        """What the values were rounded to; None where that is not known."""


class Quantised:
    """Stands where a TensorInfo does. dtype is the format's name; nbytes and the place are those of its codes.

    shape, values and grid raise InvalidInput for parts that do not fit, Unsupported for a format that is not restored.
    """

    stride = None
    offset = 0.0
    held = None
    axes = ()
    quantised = True
    row_by_row = False

    def __init__(self, name: str, parts: Parts, form: Format):
        self.name, self.parts, self.form, self.dtype = name, parts, form, form.name
        codes = next(iter(parts.values()))
        self.file: ByteSource = codes.file
        self.begin = codes.begin
        self.nbytes = sum(part.nbytes for part in parts.values())
        self._shape: tuple[int, ...] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Its own; read from the file where the format hides it in a part."""
        if self._shape is None:
            try:
                shape = self.form.shape(self.parts)
            except OSError as error:
                raise InvalidInput(f"{self.file.name} cannot be read: {error.strerror or error}.") from error
            if 4 * math.prod(shape) > MAX_TENSOR:
                raise InvalidInput(
                    f"Tensor {self.name[:80]!r} in {self.file.name} claims the shape {shape}, larger than any that is "
                    "restored as a whole; it is not what its name says."
                )
            self._shape = shape
        return self._shape

    @property
    def numel(self) -> int:
        """How many numbers it stands for."""
        return math.prod(self.shape)

    def values(self) -> torch.Tensor:
        """float32."""
        shape = self.shape  # which is bounded, before anything is made of it
        return self.form.values(self.parts).reshape(shape)

    def grid(self) -> ValueGrid | None:
        """What the values were rounded to; None where that is not known, or the tensor is no matrix."""
        return self.form.grid(self.parts) if len(self.shape) == 2 else None


class Unread:
    """A format that is only named."""

    def __init__(self, name: str):
        self.name = name

    def shape(self, parts: Parts) -> NoReturn:
        """Unsupported, always."""
        codes = next(iter(parts.values()))
        raise Unsupported(
            f"{codes.file.name} holds {codes.name[:80]!r} quantised by {self.name}, which ProjLens does not restore; "
            "give the checkpoint before quantisation, or what its own library saves after dequantising."
        )

    values = grid = shape


Stored = TensorInfo | Quantised  # what a checkpoint knows of a tensor


def read(parts: Parts, what: str) -> torch.Tensor:
    """One part's values."""
    return read_tensor(parts[what])


def as_bytes(tensor: torch.Tensor) -> torch.Tensor:
    """Its bytes in order, (n,) uint8, whatever type they were kept in."""
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def unfit(part: TensorInfo, expected: str) -> InvalidInput:
    """The error of a part that is not as its format has it."""
    return InvalidInput(
        f"{part.name[:80]!r} in {part.file.name} is {part.dtype} {part.shape}, expected {expected}; the file is "
        "damaged, or quantised otherwise than its names say."
    )


def check(part: TensorInfo, dtypes: tuple[str, ...], shape: tuple[int | None, ...], expected: str) -> None:
    """InvalidInput unless the part has one of the dtypes, and the shape (None: any length)."""
    fits = len(part.shape) == len(shape) and all(
        want in (None, have) for want, have in zip(shape, part.shape, strict=True)
    )
    if part.dtype not in dtypes or not fits:
        raise unfit(part, expected)
