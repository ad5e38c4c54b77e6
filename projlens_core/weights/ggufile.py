"""The header of one GGUF file (llama.cpp's format; a vision projector circulates as "mmproj"), parsed with bounds.

Own parser, as for safetensors: the library's reader believes every count in the file and loops over it. What the
library knows about block formats (their sizes, and how their values are restored) is taken from it.
Format: magic, version, counts, key-value pairs, tensor descriptions, padding, then each tensor's bytes, aligned.
"""

import math
import struct
from dataclasses import dataclass
from typing import Any

import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType

from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.weights.bytesource import ByteSource, as_stream
from projlens_core.weights.gguf_names import as_in_transformers
from projlens_core.weights.stored import MAX_DIMENSIONS, MAX_HEADER, MAX_TENSORS, TensorInfo, dtype_name

_VERSIONS = (2, 3)
_ALIGNMENT = 32  # bytes, unless general.alignment says otherwise
_MAX_NAME = 1024  # bytes of a tensor's or key's name
_MAX_KEYS = 10_000
_MAX_ITEMS = 4_000_000  # texts and arrays in arrays, of all keys; the largest vocabularies have some 300,000, thrice
# What says which kind of projector it is: the first that is there counts, as in llama.cpp.
_KIND_KEYS = ("clip.projector_type", "clip.vision.projector_type")
_AUDIO_KEY = "clip.audio.projector_type"
_ARCHITECTURE = "general.architecture"
_TOLD = (*_KIND_KEYS, _AUDIO_KEY, _ARCHITECTURE)
_SCALARS: dict[int, str] = {
    GGUFValueType.UINT8: "B",
    GGUFValueType.INT8: "b",
    GGUFValueType.UINT16: "H",
    GGUFValueType.INT16: "h",
    GGUFValueType.UINT32: "I",
    GGUFValueType.INT32: "i",
    GGUFValueType.FLOAT32: "f",
    GGUFValueType.BOOL: "?",
    GGUFValueType.UINT64: "Q",
    GGUFValueType.INT64: "q",
    GGUFValueType.FLOAT64: "d",
}
_PLAIN = {
    GGMLQuantizationType.F32: torch.float32,
    GGMLQuantizationType.F16: torch.float16,
    GGMLQuantizationType.BF16: torch.bfloat16,
    GGMLQuantizationType.F64: torch.float64,
    GGMLQuantizationType.I8: torch.int8,
    GGMLQuantizationType.I16: torch.int16,
    GGMLQuantizationType.I32: torch.int32,
    GGMLQuantizationType.I64: torch.int64,
}


@dataclass(frozen=True)
class Header:
    """A GGUF file's tensors by name, and what it says of itself. key and kind: which kind of projector by which of its
    keys, None if it says none; architecture: "clip" of a projector's file, a language model's name of other files."""

    tensors: dict[str, TensorInfo]
    key: str | None
    kind: str | None
    architecture: str | None


def read_header(file: ByteSource) -> Header:
    """All tensors of a GGUF file, shapes as torch has them (rows first), the projector's under the names it has in a
    checkpoint of transformers where the file says which kind it is; InvalidInput if it is malformed."""
    parser = _Parser(file)
    tensors = parser.tensors()
    key = next((key for key in (*_KIND_KEYS, _AUDIO_KEY) if parser.said.get(key)), None)
    kind = parser.said.get(key) if key else None
    named = {parser.said[each] for each in _KIND_KEYS if parser.said.get(each)}
    if len(named) > 1:
        raise InvalidInput(
            f"{file.name} says {' and '.join(f'{each} {parser.said[each][:40]!r}' for each in _KIND_KEYS)}; which a "
            "loader takes is uncertain: keep one."
        )
    tensors = as_in_transformers(tensors, kind if key in _KIND_KEYS else None)
    return Header(tensors, key, kind, parser.said.get(_ARCHITECTURE))


class _Parser:
    """Reads front to back, refusing to go beyond the file or MAX_HEADER."""

    def __init__(self, file: ByteSource):
        self.file, self.stream, self.at = file, as_stream(file), 0
        self.said: dict[str, str] = {}  # the values of _TOLD
        self.items = 0  # texts and arrays in arrays so far

    def tensors(self) -> dict[str, TensorInfo]:
        if self._take(4) != b"GGUF":
            raise InvalidInput(f"{self.file.name} is not a GGUF file: it does not begin with GGUF.")
        version = self._number("I")
        if version not in _VERSIONS:
            raise Unsupported(f"{self.file.name} is GGUF version {version:,}, expected 2 or 3 in little-endian order.")
        count, keys = self._number("Q"), self._number("Q")
        if count > MAX_TENSORS or keys > _MAX_KEYS:
            raise InvalidInput(
                f"{self.file.name} claims {count:,} tensors and {keys:,} keys, more than the {MAX_TENSORS:,} and "
                f"{_MAX_KEYS:,} that are read."
            )
        alignment = self._keys(keys)
        described = [self._description() for _ in range(count)]
        start = -(-self.at // alignment) * alignment
        tensors: dict[str, TensorInfo] = {}
        for name, shape, quant, offset in described:
            if name in tensors:
                raise InvalidInput(f"{self.file.name} names {name[:80]!r} twice; which counts is uncertain: refused.")
            tensors[name] = self._info(name, shape, quant, start + offset)
        self._check_apart(tensors)
        return tensors

    def _keys(self, keys: int) -> int:
        """Passes over all key-value pairs, notes those of _TOLD and returns the alignment."""
        alignment: object = _ALIGNMENT
        for _ in range(keys):
            key = self._text(_MAX_NAME)
            value = self._value(self._number("I"))
            if key == "general.alignment":
                alignment = value
            elif key in _TOLD:
                if not isinstance(value, str) or key in self.said:
                    raise InvalidInput(f"{self.file.name} says {key} twice or not in a short text; it is damaged.")
                self.said[key] = value
        if type(alignment) is not int or not 0 < alignment <= 2**20 or alignment & (alignment - 1):
            raise InvalidInput(f"{self.file.name} has alignment {str(alignment)[:20]}, expected a power of two.")
        return alignment

    def _value(self, code: int, depth: int = 0) -> object:
        """One value; long texts and arrays are passed over, not kept."""
        if form := _SCALARS.get(code):
            return self._number(form)
        if code == GGUFValueType.STRING:
            length = self._number("Q")
            if length <= _MAX_NAME:
                return self._take(length).decode("utf-8", "backslashreplace")
            self._skip(length)
            return None
        if code != GGUFValueType.ARRAY or depth > 4:
            raise InvalidInput(f"{self.file.name} has a key of unknown type {code}; it is damaged.")
        inner, length = self._number("I"), self._number("Q")
        if form := _SCALARS.get(inner):
            self._skip(length * struct.calcsize(form))
            return None
        self.items += length
        if self.items > _MAX_ITEMS:
            raise InvalidInput(
                f"{self.file.name} claims {self.items:,} texts in its keys, more than the {_MAX_ITEMS:,} that are read."
            )
        for _ in range(length):
            self._value(inner, depth + 1)
        return None

    def _description(self) -> tuple[str, tuple[int, ...], GGMLQuantizationType, int]:
        name = self._text(_MAX_NAME)
        dimensions = self._number("I")
        if dimensions > MAX_DIMENSIONS:
            raise InvalidInput(f"Tensor {name[:80]!r} in {self.file.name} claims {dimensions:,} dimensions; damaged.")
        shape = tuple(self._number("Q") for _ in range(dimensions))[::-1]
        code, offset = self._number("I"), self._number("Q")
        try:
            return name, shape, GGMLQuantizationType(code), offset
        except ValueError as error:
            raise InvalidInput(f"Tensor {name[:80]!r} in {self.file.name} has unknown type {code:,}.") from error

    def _info(self, name: str, shape: tuple[int, ...], quant: GGMLQuantizationType, begin: int) -> TensorInfo:
        block, size = GGML_QUANT_SIZES[quant]
        row = shape[-1] if shape else 1
        if row % block:
            raise InvalidInput(
                f"Tensor {name[:80]!r} in {self.file.name} has rows of {row:,}, which are no whole blocks of "
                f"{block} as {quant.name} stores them."
            )
        nbytes = math.prod(shape) // block * size
        if begin + nbytes > self.file.size:
            raise InvalidInput(
                f"Tensor {name[:80]!r} in {self.file.name} claims bytes {begin:,} to {begin + nbytes:,} of "
                f"{self.file.size:,}; the file is cut or damaged."
            )
        dtype = dtype_name(_PLAIN[quant]) if quant in _PLAIN else quant.name
        return TensorInfo(name, shape, dtype, nbytes, self.file, begin)

    def _check_apart(self, tensors: dict[str, TensorInfo]) -> None:
        at, before = 0, ""
        for info in sorted(tensors.values(), key=lambda t: (t.begin, t.nbytes)):
            if info.nbytes and info.begin < at:
                raise InvalidInput(
                    f"{self.file.name}: the bytes of {info.name[:80]!r} overlap those of {before[:80]!r}; refused."
                )
            at, before = max(at, info.begin + info.nbytes), info.name

    def _text(self, limit: int) -> str:
        length = self._number("Q")
        if length > limit:
            raise InvalidInput(f"{self.file.name} claims a name of {length:,} bytes, expected at most {limit:,}.")
        return self._take(length).decode("utf-8", "backslashreplace")

    def _number(self, form: str) -> Any:
        """An int or a float, as the form says."""
        return struct.unpack(f"<{form}", self._take(struct.calcsize(form)))[0]

    def _take(self, length: int) -> bytes:
        self._advance(length)
        return self.stream.read(length)

    def _skip(self, length: int) -> None:
        self._advance(length)
        self.stream.seek(self.at)

    def _advance(self, length: int) -> None:
        self.at += length
        if self.at > min(self.file.size, MAX_HEADER):
            raise InvalidInput(f"The header of {self.file.name} ends beyond the file's end or 100 MB; it is damaged.")
