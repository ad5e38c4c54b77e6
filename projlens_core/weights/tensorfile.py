"""The header of one safetensors file, parsed with bounds: nothing in it is believed before it is checked.

Own parser, because the file is evidence: the name of every tensor must be seen (duplicate keys and bytes that belong
to no tensor included), only the bytes asked for may be read, and every failure must be one sentence.
Format: 8 bytes little-endian header length, a JSON header, then the tensors' bytes without gaps or overlaps.
"""

import json
import math
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch

from projlens_core.errors import InvalidInput

MAX_HEADER = 100_000_000  # bytes; the limit of the reference implementation
MAX_JSON = 10_000_000  # bytes of a config; an index is bounded like a header

# Stored code → torch dtype. Sub-byte types (F4, F6_*) are left out: their tensors do not fill whole elements.
DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "U16": torch.uint16,
    "I32": torch.int32,
    "U32": torch.uint32,
    "I64": torch.int64,
    "U64": torch.uint64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
    "C64": torch.complex64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E8M0": torch.float8_e8m0fnu,
}


@dataclass(frozen=True)
class TensorInfo:
    """One stored tensor: its dtype as torch names it ("bfloat16"), its bytes, and where in which file they begin."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    nbytes: int
    file: Path
    begin: int


def parse_json(text: bytes, what: str) -> dict:
    """A JSON object from untrusted bytes; InvalidInput for anything else, and for a key that occurs twice."""

    def unique(pairs: list[tuple[str, object]]) -> dict:
        result = dict(pairs)
        if len(result) < len(pairs):
            twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
            raise InvalidInput(f"{what} names {twice[:80]!r} twice; which entry counts is uncertain, so it is refused.")
        return result

    try:
        parsed = json.loads(text.decode("utf-8"), object_pairs_hook=unique)
    except InvalidInput:
        raise
    except (ValueError, RecursionError) as error:  # ValueError covers JSON, UTF-8 and absurdly long integers
        raise InvalidInput(f"{what} is not valid JSON; the file is damaged or is not what its name says.") from error
    if not isinstance(parsed, dict):
        raise InvalidInput(f"{what} holds a JSON {type(parsed).__name__}, expected an object.")
    return parsed


def read_json(path: Path, limit: int = MAX_JSON) -> dict:
    """A JSON file of at most `limit` bytes as a dict; InvalidInput as parse_json."""
    with path.open("rb") as file:
        text = file.read(limit + 1)
    if len(text) > limit:
        raise InvalidInput(f"{path.name} is larger than {limit // 1_000_000} MB, which no real one is.")
    return parse_json(text, path.name)


def read_header(path: Path) -> tuple[dict[str, TensorInfo], int]:
    """All tensors of a safetensors file by name, and the bytes read to learn them; InvalidInput if it is malformed."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(MAX_HEADER, size - 8):
            raise InvalidInput(
                f"{path.name} is not a whole safetensors file: it claims a header of {length:,} bytes and has "
                f"{size:,} in all; fetch it again."
            )
        entries = parse_json(file.read(length), f"The header of {path.name}")
    entries.pop("__metadata__", None)
    start = 8 + length
    tensors = {name: _tensor(name, entry, path, start, size - start) for name, entry in entries.items()}
    _check_layout(path, sorted((t.begin, t.begin + t.nbytes, t.name) for t in tensors.values()), start, size)
    return tensors, start


def read_tensor(info: TensorInfo) -> torch.Tensor:
    """The tensor's values in their stored dtype, from its byte range alone."""
    buffer = bytearray(info.nbytes)
    with info.file.open("rb") as file:
        file.seek(info.begin)
        got = _fill(file, memoryview(buffer))
    if got < info.nbytes:
        raise InvalidInput(f"{info.file.name} became shorter while it was read; fetch it again.")
    dtype = getattr(torch, info.dtype)
    return torch.frombuffer(buffer, dtype=dtype).reshape(info.shape) if buffer else torch.empty(info.shape, dtype=dtype)


def _fill(file: BinaryIO, view: memoryview) -> int:
    done = 0
    while done < len(view) and (count := file.readinto(view[done:])):
        done += count
    return done


def _tensor(name: str, entry: object, path: Path, start: int, data_size: int) -> TensorInfo:
    """One header entry, checked by itself: known dtype, sane shape, a byte range in the file and of the right size."""
    shown = f"Tensor {name[:80]!r} in {path.name}"
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise InvalidInput(f"{shown} is not described by dtype, shape and data_offsets; the file is damaged.")
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(code, str) or code not in DTYPES:
        raise InvalidInput(f"{shown} has dtype {str(code)[:20]!r}, expected one of {', '.join(DTYPES)}.")
    if not _counts(shape) or not _counts(offsets) or len(offsets) != 2 or len(shape) > 8:
        raise InvalidInput(f"{shown} has a shape or offsets that are not lists of whole numbers; the file is damaged.")
    begin, end = offsets
    if not begin <= end <= data_size:
        raise InvalidInput(f"{shown} claims bytes {begin:,} to {end:,} of {data_size:,}; the file is cut or damaged.")
    nbytes = math.prod(shape) * DTYPES[code].itemsize
    if nbytes != end - begin:
        raise InvalidInput(f"{shown} needs {nbytes:,} bytes for its shape {shape} but has {end - begin:,}.")
    return TensorInfo(name, tuple(shape), str(DTYPES[code]).removeprefix("torch."), nbytes, path, start + begin)


def _counts(value: object) -> bool:
    """Whether value is a list of whole numbers ≥ 0 that fit 64 bits."""
    return isinstance(value, list) and all(type(v) is int and 0 <= v < 2**63 for v in value)


def _check_layout(path: Path, spans: list[tuple[int, int, str]], start: int, size: int) -> None:
    """InvalidInput unless the tensors fill the file from `start` to its end, each byte belonging to exactly one."""
    at, before = start, "the header"
    for begin, end, name in spans:
        if begin < at:
            raise InvalidInput(f"{path.name}: the bytes of {name[:80]!r} overlap those of {before[:80]!r}; refused.")
        if begin > at:
            break
        at, before = end, name
    if at != size:
        raise InvalidInput(f"{path.name} holds bytes after {before[:80]!r} that belong to no tensor; refused.")
