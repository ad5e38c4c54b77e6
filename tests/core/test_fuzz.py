"""Every reader of untrusted files against mutated ones: tensors, or one clear sentence; never anything else.

The ordinary suite tries a few thousand inputs, `make test-all` more than 100,000. Inputs that once crashed a reader
are in CRASHES and tried first.
"""

import base64
import io
import json
import struct
import tempfile
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from projlens_core.errors import ProjLensError
from projlens_core.weights.bytesource import check_range
from projlens_core.weights.checkpoint import read_header
from projlens_core.weights.opening import open_checkpoint
from projlens_core.weights.stored import read_tensor
from tests.core.test_forms import factors, lora
from tests.core.test_forms import mmproj as write_mmproj

TENSORS = {
    "multi_modal_projector.linear_1.weight": torch.ones(2, 3),
    "b": torch.arange(4).half(),
    "none": torch.ones(0, 2),
}
QUICK = settings(max_examples=400, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
LONG = settings(QUICK, max_examples=18_000)  # times six readers


class Memory:
    """A file in memory."""

    digest = None

    def __init__(self, name, data):
        self.name, self.data, self.size, self.bytes_read = name, data, len(data), 0

    def read(self, begin, length):
        check_range(self, begin, length)
        self.bytes_read += length
        return bytearray(self.data[begin : begin + length])


def torch_zip(tensors=TENSORS):
    file = io.BytesIO()
    torch.save({"model": tensors, "epoch": 3}, file)
    return file.getvalue()


def torch_old():
    file = io.BytesIO()
    torch.save(TENSORS, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def mmproj_bytes():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.gguf"
        tensors = {"mm.0.weight": torch.ones(2, 32), "mm.0.bias": torch.ones(2)}
        return write_mmproj(path, tensors, "Q8_0", **{"clip.projector_type": "mlp"}).read_bytes()


def repacked(pickled):
    """The zip with another pickle in it and checksums that fit, so that mutations reach the unpickler."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(torch_zip())) as old, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as new:
        for entry in old.infolist():
            if entry.filename.endswith("/.format_version"):
                continue  # without it torch looks up where records begin instead of computing it
            new.writestr(entry.filename, pickled if entry.filename.endswith(".pkl") else old.read(entry))
    return file.getvalue()


def inner_pickle():
    with zipfile.ZipFile(io.BytesIO(torch_zip())) as archive:
        return next(archive.read(e) for e in archive.infolist() if e.filename.endswith(".pkl"))


SEEDS = {
    "x.safetensors": save(TENSORS),
    "x.pth": torch_zip(),
    "inner.pth": inner_pickle(),
    "old.pth": torch_old(),
    "x.gguf": mmproj_bytes(),
}
STRANGE = [
    b"\xff" * 8,
    b"\x00" * 8,
    struct.pack("<Q", 2**63),
    struct.pack("<Q", 10**10),
    struct.pack("<I", 2**31),
    b"9" * 30,
]
# Each edit: where (as a share of the file), how, with what.
EDITS = st.lists(
    st.tuples(
        st.integers(0, 2**20 - 1),
        st.sampled_from(("flip", "set", "strange", "insert", "delete", "cut", "repeat", "swap")),
        st.integers(0, 2**16 - 1),
    ),
    min_size=1,
    max_size=6,
)


def mutated(data, edits):
    data = bytearray(data)
    for place, how, what in edits:
        if not data:
            break
        at = place * len(data) >> 20
        strange = STRANGE[what % len(STRANGE)]
        match how:
            case "flip":
                data[at] ^= 1 << what % 8
            case "set":
                data[at] = what % 256
            case "strange":
                data[at : at + len(strange)] = strange
            case "insert":
                data[at:at] = strange[: what % 9]
            case "delete":
                del data[at : at + what % 64]
            case "cut":
                del data[at:]
            case "repeat":
                data[at:at] = data[at : at + what % 64]
            case "swap":
                other = what * len(data) >> 16
                data[at], data[other] = data[other], data[at]
    return bytes(data)


def check_sentence(text):
    assert text.endswith(".")
    assert "\n" not in text
    assert len(text) < 500


def survives(name, data):
    """Whether it was opened; what is refused is refused in one sentence."""
    if name == "inner.pth":
        data = repacked(data)
    try:
        for info in read_header(Memory(name, data)).values():
            assert info.nbytes <= max(len(data), 64)
            assert info.numel <= 40 * len(data)  # the most that any quantised type expands to
            read_tensor(info)
    except ProjLensError as error:
        check_sentence(str(error))
        return False
    return True


@pytest.mark.parametrize("name", SEEDS)
def test_unchanged_files_are_read(name):
    assert survives(name, SEEDS[name])


@pytest.mark.parametrize("name", SEEDS)
@QUICK
@given(edits=EDITS)
def test_mutated_files_are_read_or_refused(name, edits):
    survives(name, mutated(SEEDS[name], edits))


@pytest.mark.slow(seconds=70)
@pytest.mark.parametrize("name", SEEDS)
@LONG
@given(edits=EDITS)
def test_many_mutated_files_are_read_or_refused(name, edits):
    survives(name, mutated(SEEDS[name], edits))


# Headers that are well-formed JSON and lie.
NUMBERS = st.one_of(st.integers(-2, 20), st.sampled_from([2**31, 2**63, 10**10, 2**64, 1e9, True, None, "1"]))
ENTRY = st.one_of(
    st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(["F32", "F16", "I8", "BF16", "X", "", None]),
            "shape": st.one_of(st.lists(NUMBERS, max_size=10), NUMBERS),
            "data_offsets": st.one_of(st.lists(NUMBERS, min_size=2, max_size=2), st.lists(NUMBERS, max_size=3)),
        }
    ),
    st.sampled_from([None, 5, [], {}, "x"]),
)
HEADERS = st.dictionaries(st.text(max_size=5), ENTRY, max_size=4)


def lying(header, data):
    text = json.dumps(header).encode()
    survives("x.safetensors", struct.pack("<Q", len(text)) + text + data)


@QUICK
@given(HEADERS, st.binary(max_size=40))
def test_lying_headers_are_read_or_refused(header, data):
    lying(header, data)


@pytest.mark.slow(seconds=30)
@LONG
@given(HEADERS, st.binary(max_size=40))
def test_many_lying_headers_are_read_or_refused(header, data):
    lying(header, data)


SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        key: st.one_of(NUMBERS, st.text(max_size=5), st.dictionaries(st.text(max_size=5), NUMBERS, max_size=2))
        for key in (
            "peft_type", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora",
            "fan_in_fan_out", "init_lora_weights", "base_model_name_or_path", "layer_replication",
        )
    },
)  # fmt: skip


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(config=SETTINGS)
def test_strange_adapter_configs_are_read_or_refused(config):
    with tempfile.TemporaryDirectory() as folder:
        base, adapter = Path(folder) / "base.safetensors", Path(folder) / "adapter"
        base.write_bytes(save({"multi_modal_projector.linear_2.weight": torch.ones(4, 4)}))
        lora(adapter, factors(rows=4, columns=4), config)
        try:
            opened = open_checkpoint(adapter, base)
            for name in opened.names:
                opened.read(name)
        except ProjLensError as error:
            check_sentence(str(error))


# name of the reader, base64 of the file: inputs that once raised something else than a ProjLensError.
CRASHES = [
    # a quantised tensor of size zero
    (
        "x.gguf",
        "R0dVRgMAAAACAAAAAAAAAAQAAAAAAAAAFAAAAAAAAABnZW5lcmFsLmFyY2hpdGVjdHVyZQgAAAAEAAAAAAAAAGNsaXATAAAAAAAAAGNsaXAucHJvamVjdG9yX3R5cGUIAAAAAwAAAAAAAABtbHAWAAAAAAAAAGNsaXAudmlzaW9uLmltYWdlX21lYW4JAAAABgAAAAMAAAAAAAAAAAAAPwAAAD8AAAA/CgAAAAAAAABzb21lLndvcmRzCQAAAAgAAAACAAAAAAAAAAEAAAAAAAAAYQEAAAAAAAAAYgsAAAAAAAAAbW0uMC53ZWlnaHQCAAAAIAAAAAAAAAACAAAAAAAAAAgAAAAAAAAAAAAAAAkAAAAAAAAAbW0uMADkC1QCAAAAAAIAAAAAAAAAAAAAAGAAAAAAAAAAAAAAAAAAAAAIIH9/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/CCB/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/fwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAYA/AACAPwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==",
    ),
    # a quantised tensor without dimensions
    (
        "x.gguf",
        "R0dVRgMAAAACAAAAAAAAAAQAAAAAAAAAFAAAAAAAAABnZW5lcmFsLmFyY2hpdGVjdHVyZQgAAAAEAAAAAAAAAGNsaXATAAAAAAAAAGNsaXAucHJvamVjdG9yX3R5cGUIAAAAAwAAAAAAAABtbHAWAAAAAAAAAGNsaXAudmlzaW9uLmltYWdlX21lYW4JAAAABgAAAAMAAAAAAAAAAAAAPwAAAD8AAAA/CgAAAAAAAABzb21lLndvcmRzCQAAAAgAAAACAAAAAAAAAAEAAAAAAAAAYQEAAAAAAAAAYgsAAAAAAAAAbW0uMC53ZWlnaHQCAAAAIAAAAAAAAAACAAAAAAAAAAgAAAAAAAAAAAAAAAkAAAAAAAAAbW0uMC5iaWFzAAAAAAgAAAAAAAAAAAAAAAkAAAAAAAAAbW0uMC5iaWFzAQAAAAIAAAAAAAAAAAAAAGAAAAAAAAAAf39/f39/f39/f39/f39/fwggf39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f38AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAACAPwAAgD8AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    ),
]


@pytest.mark.parametrize(("name", "data"), CRASHES, ids=range(len(CRASHES)))
def test_what_once_crashed_a_reader_is_refused(name, data):
    survives(name, base64.b64decode(data))
