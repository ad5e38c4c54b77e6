"""The header of one safetensors file, parsed with bounds: nothing in it is believed before it is checked.

Own parser, because the file is evidence: the name of every tensor must be seen (duplicate keys and bytes that belong
to no tensor included), only the bytes asked for may be read, and every failure must be one sentence.
Format: 8 bytes little-endian header length, a JSON header, then the tensors' bytes without gaps or overlaps.
"""

import json
import math
from collections import Counter

import torch

from projlens_core.errors import InvalidInput
from projlens_core.weights.bytesource import ByteSource
from projlens_core.weights.stored import MAX_DIMENSIONS, MAX_HEADER, MAX_TENSORS, TensorInfo, dtype_name

MAX_VALUES = 2_000_000  # of JSON; a tensor in a header has about ten
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


def parse_json(text: bytes, what: str) -> dict:
    """A JSON object from untrusted bytes; InvalidInput for anything else, for a key that occurs twice, and for more
    values than any real one has, counted before one is made.
    """
    values = text.count(b",") + text.count(b"[") + text.count(b"{")  # one of them stands before every value
    if values > MAX_VALUES:
        raise InvalidInput(f"{what} holds {values:,} values, more than the {MAX_VALUES:,} that are read.")

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


def read_json(file: ByteSource, limit: int = MAX_JSON) -> dict:
    """A JSON file of at most `limit` bytes as a dict; InvalidInput as parse_json."""
    if file.size > limit:
        raise InvalidInput(f"{file.name} is larger than {limit // 1_000_000} MB, which no real one is.")
    return parse_json(bytes(file.read(0, file.size)), file.name)


def read_header(file: ByteSource) -> dict[str, TensorInfo]:
    """All tensors of a safetensors file by name; InvalidInput if it is malformed."""
    size = file.size
    length = int.from_bytes(file.read(0, min(8, size)), "little")
    if size < 8 or length > min(MAX_HEADER, size - 8):
        raise InvalidInput(
            f"{file.name} is not a whole safetensors file: it claims a header of {length:,} bytes and has "
            f"{size:,} in all; fetch it again."
        )
    entries = parse_json(bytes(file.read(8, length)), f"The header of {file.name}")
    entries.pop("__metadata__", None)
    if len(entries) > MAX_TENSORS:
        raise InvalidInput(f"{file.name} claims {len(entries):,} tensors, more than the {MAX_TENSORS:,} read.")
    start = 8 + length
    tensors = {name: _tensor(name, entry, file, start) for name, entry in entries.items()}
    _check_layout(file, sorted((t.begin, t.begin + t.nbytes, t.name) for t in tensors.values()), start)
    return tensors


def _tensor(name: str, entry: object, file: ByteSource, start: int) -> TensorInfo:
    """One header entry, checked by itself: known dtype, sane shape, a byte range in the file and of the right size."""
    shown = f"Tensor {name[:80]!r} in {file.name}"
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise InvalidInput(f"{shown} is not described by dtype, shape and data_offsets; the file is damaged.")
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(code, str) or code not in DTYPES:
        raise InvalidInput(f"{shown} has dtype {str(code)[:20]!r}, expected one of {', '.join(DTYPES)}.")
    if not _counts(shape) or not _counts(offsets) or len(offsets) != 2 or len(shape) > MAX_DIMENSIONS:
        raise InvalidInput(f"{shown} has a shape or offsets that are not lists of whole numbers; the file is damaged.")
    begin, end = offsets
    data_size = file.size - start
    if not begin <= end <= data_size:
        raise InvalidInput(f"{shown} claims bytes {begin:,} to {end:,} of {data_size:,}; the file is cut or damaged.")
    nbytes = math.prod(shape) * DTYPES[code].itemsize
    if nbytes != end - begin:
        raise InvalidInput(f"{shown} needs {nbytes:,} bytes for its shape {shape} but has {end - begin:,}.")
    return TensorInfo(name, tuple(shape), dtype_name(DTYPES[code]), nbytes, file, start + begin)


def _counts(value: object) -> bool:
    """Whether value is a list of whole numbers ≥ 0 that fit 64 bits."""
    return isinstance(value, list) and all(type(v) is int and 0 <= v < 2**63 for v in value)


def _check_layout(file: ByteSource, spans: list[tuple[int, int, str]], start: int) -> None:
    """InvalidInput unless the tensors fill the file from `start` to its end, each byte belonging to exactly one."""
    at, before = start, "the header"
    for begin, end, name in spans:
        if begin < at:
            raise InvalidInput(f"{file.name}: the bytes of {name[:80]!r} overlap those of {before[:80]!r}; refused.")
        if begin > at:
            break
        at, before = end, name
    if at != file.size:
        raise InvalidInput(f"{file.name} holds bytes after {before[:80]!r} that belong to no tensor; refused.")
