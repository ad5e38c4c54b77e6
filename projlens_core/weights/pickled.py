"""The tensors of a torch.save file (.bin, .pt, .pth, .ckpt), found without reading their values and without running it.

A torch file is a zip of stored records: data.pkl, a pickle that says what there is, and one record for each storage.
The zip's structure is checked first, then its opcodes (`opcodes`). Then torch reads it with weights_only, which
builds tensors and plain containers and refuses everything else; on the "meta" device, which has shapes and offsets but
no memory. Every offset is compared with the zip's own directory before a byte is read from it. Files from before torch
1.6 are one stream of pickles: they are read as a whole, their opcodes checked and weights_only as well.
"""

import io
import re
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from itertools import count
from typing import IO

import torch

from projlens_core.errors import InvalidInput, ProjLensError, Unsupported
from projlens_core.weights.bytesource import ByteSource, as_stream
from projlens_core.weights.opcodes import check_pickle
from projlens_core.weights.standins import stand_ins
from projlens_core.weights.stored import (
    MAX_DIMENSIONS,
    MAX_HEADER,
    MAX_TENSOR,
    MAX_TENSORS,
    TensorInfo,
    dtype_name,
)

_MAX_STEPS = 2_000_000  # through all of their keys
_MAX_DEPTH = 4  # of dictionaries around the tensors, such as checkpoint["model"]
_PICKLES = 5  # in a file of before torch 1.6: its mark, version and machine, the tensors, the keys of their storages
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature … length of name, length of extra field
_TAIL = 98  # bytes: the end of a zip's directory, 22, after its 64-bit form and where that lies, 56 and 20
# The containers in which training frameworks put a model's tensors beside optimizers and settings.
_CONTAINERS = ("model", "state_dict", "model_state_dict", "module", "net", "weights")


def read_header(file: ByteSource) -> dict[str, TensorInfo]:
    """All tensors of the file by dotted name; InvalidInput if it is malformed or holds more than tensors and settings.

    Of a training checkpoint only the part that holds the model is taken ("model", "state_dict", …).
    """
    if bytes(file.read(0, min(4, file.size))) == b"PK\x03\x04":
        records = _records(file)
        found = _tensors(file, _load(file, as_stream(file), "meta"))
        return {name: _info(name, tensor, file, records) for name, tensor in found.items()}
    if file.size > MAX_TENSOR:
        raise Unsupported(
            f"{file.name} is in torch's old format, which can only be read as a whole, and has {file.size:,} bytes; "
            "save it with a newer torch, or as safetensors."
        )
    data, end = bytes(file.read(0, file.size)), 0
    for _ in range(_PICKLES):
        end = check_pickle(data, file.name, file.size, end)
    found = _tensors(file, _load(file, io.BytesIO(data), "cpu"))
    return {
        name: TensorInfo(name, tuple(t.shape), dtype_name(t.dtype), t.nbytes, file, 0, held=t)
        for name, t in found.items()
    }


def _load(file: ByteSource, stream: IO[bytes], device: str) -> object:
    try:
        with warnings.catch_warnings(), stand_ins():
            warnings.simplefilter("ignore")  # what torch remarks about a damaged file is said by the error
            return torch.load(stream, map_location=device, weights_only=True)
    except (ProjLensError, OSError):  # of the source that is read, not of what it holds
        raise
    except Exception as error:  # torch raises whatever a file that is damaged or made up leads it to
        if asked := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise InvalidInput(
                f"{file.name} asks its loader to call {asked[1][:80]!r}, which no tensor needs; nothing of it was run. "
                "Have its tensors saved alone, or as safetensors."
            ) from error
        raise InvalidInput(
            f"{file.name} is not a whole file of tensors as torch.save writes them; fetch it again."
        ) from error


def _records(file: ByteSource) -> dict[int, int]:
    """{where a record's bytes begin: how many} of the zip; InvalidInput unless it is built as torch builds them."""
    _check_directory(file)
    try:
        with zipfile.ZipFile(as_stream(file)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, OverflowError) as error:
        raise InvalidInput(f"{file.name} is a damaged zip; fetch it again.") from error
    if len(entries) > MAX_TENSORS:
        raise InvalidInput(f"{file.name} claims {len(entries):,} records, more than the {MAX_TENSORS:,} that are read.")
    if len({entry.filename for entry in entries}) < len(entries):
        raise InvalidInput(f"{file.name} holds two records of one name; which one counts is uncertain: refused.")
    records: dict[int, int] = {}
    end = 0
    for entry in sorted(entries, key=lambda e: e.header_offset):
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise InvalidInput(f"{file.name} holds compressed records, which torch never writes: refused.")
        pickled = entry.filename.lower().endswith(".pkl")  # torch finds DATA.PKL, too
        if pickled and entry.file_size > MAX_HEADER:
            raise InvalidInput(
                f"{file.name} describes its tensors in {entry.file_size:,} bytes, expected below 100 MB."
            )
        if entry.filename.endswith("/byteorder") and entry.file_size > len(b"little"):
            raise InvalidInput(f"{file.name} has a byte order of {entry.file_size:,} bytes; it is damaged.")
        if entry.header_offset < end:
            raise InvalidInput(f"{file.name} holds records that overlap: refused.")
        signature, name, extra = _LOCAL_HEADER.unpack(file.read(entry.header_offset, _LOCAL_HEADER.size))
        begin = entry.header_offset + _LOCAL_HEADER.size + name + extra
        end = begin + entry.file_size
        if signature != b"PK\x03\x04" or end > file.size:
            raise InvalidInput(f"{file.name} claims a record that ends at byte {end:,} of {file.size:,}; it is cut.")
        if pickled:
            check_pickle(bytes(file.read(begin, entry.file_size)), file.name, file.size)
        records[begin] = entry.file_size
    return records


def _check_directory(file: ByteSource) -> None:
    """InvalidInput if the zip's directory, which is read as a whole, claims to be larger than any header."""
    tail = bytes(file.read(max(0, file.size - _TAIL), min(_TAIL, file.size)))
    end, end64 = tail[-22:], tail[-98:-42]
    size = struct.unpack_from("<I", end, 12)[0] if end[:4] == b"PK\x05\x06" and end[20:] == b"\0\0" else -1
    if size == 0xFFFFFFFF:
        size = struct.unpack_from("<Q", end64, 40)[0] if end64[:4] == b"PK\x06\x06" else -1
    if not 0 <= size <= MAX_HEADER:
        raise InvalidInput(f"{file.name} is a zip without a directory of sane size at its end; it is cut or damaged.")


def _tensors(file: ByteSource, loaded: object) -> dict[str, torch.Tensor]:
    """The tensors by dotted name; of a training checkpoint, those of the container that is the model's."""
    if isinstance(loaded, Mapping) and not any(isinstance(value, torch.Tensor) for value in loaded.values()):
        held = [key for key in _CONTAINERS if isinstance(loaded.get(key), Mapping)]
        if len(held) > 1:
            raise InvalidInput(f"{file.name} holds a model under each of {', '.join(held)}; keep one.")
        if held:
            loaded = loaded[held[0]]
    found: dict[str, torch.Tensor] = {}
    for name, tensor in _flat(loaded, "", 0, count()):
        if len(found) == MAX_TENSORS:
            raise InvalidInput(f"{file.name} names more than the {MAX_TENSORS:,} tensors that are read.")
        if name in found:
            raise InvalidInput(f"{file.name} names {name[:80]!r} twice; which counts is uncertain: refused.")
        if tensor.layout is not torch.strided or tensor.is_quantized:
            raise Unsupported(f"{file.name} holds {name[:80]!r} sparse or quantised; save it as plain floats.")
        if tensor.ndim > MAX_DIMENSIONS:
            raise InvalidInput(f"Tensor {name[:80]!r} in {file.name} claims {tensor.ndim} dimensions; it is damaged.")
        found[name] = tensor.detach()
    if not found:
        raise InvalidInput(f"{file.name} holds no tensors by name; give a file with a model's state.")
    return found


def _flat(loaded: object, prefix: str, depth: int, steps: Iterator[int]) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors in dictionaries of dictionaries; the same one may lie at many places, so steps are counted."""
    if not isinstance(loaded, Mapping) or depth > _MAX_DEPTH:
        return
    for key, value in loaded.items():
        if next(steps) > _MAX_STEPS:
            raise InvalidInput("The file has dictionaries in dictionaries without end; have its tensors saved alone.")
        name = f"{prefix}{key}" if isinstance(key, str | int) else ""
        if isinstance(value, torch.Tensor) and name:
            yield name, value
        elif name:
            yield from _flat(value, f"{name}.", depth + 1, steps)


def _info(name: str, tensor: torch.Tensor, file: ByteSource, records: dict[int, int]) -> TensorInfo:
    """Where the tensor's values lie; InvalidInput unless they lie within one record of the zip."""
    size = tensor.element_size()
    last = sum(step * (count - 1) for step, count in zip(tensor.stride(), tensor.shape, strict=True))
    span = (last + 1) * size if tensor.numel() else 0  # bytes from the first value to the last
    record = getattr(tensor.untyped_storage(), "_checkpoint_offset", None)
    inside = tensor.storage_offset() * size
    room = 0 if record is None else records.get(record, 0)
    # Counted besides: a view with steps of zero claims any number of values within a few bytes.
    if record not in records or min(inside, *tensor.stride(), 0) < 0 or max(inside + span, tensor.nbytes) > room:
        raise InvalidInput(
            f"Tensor {name[:80]!r} in {file.name} claims {max(inside + span, tensor.nbytes):,} bytes for shape "
            f"{tuple(tensor.shape)}, and its record has {room:,}; the file is cut or damaged."
        )
    stride = None if tensor.is_contiguous() else tuple(tensor.stride())
    return TensorInfo(name, tuple(tensor.shape), dtype_name(tensor.dtype), span, file, record + inside, stride)
