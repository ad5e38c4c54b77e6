"""A pickle is sixty bytes and may ask for anything: what it asks for is looked at before torch's reader is given it."""

import io
import struct
from collections import Counter, OrderedDict
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from projlens_core.cli import main
from projlens_core.errors import Cancelled, InvalidInput, Unsupported
from projlens_core.weights import opcodes, pickled
from projlens_core.weights.checkpoint import read_header
from projlens_core.weights.opcodes import check_pickle
from projlens_core.weights.stored import read_tensor
from tests import pico
from tests.core.test_fuzz import Memory, repacked

BEGIN, END = b"\x80\x02", b"."
HUGE = b"\x8a\x05" + (5_000_000_000).to_bytes(5, "little")
EMPTY, FIRST = b")", b"q\x00"


def word(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def name(module: str, function: str) -> bytes:
    return b"c" + f"{module}\n{function}\n".encode()


def call(module: str, function: str, *arguments: bytes) -> bytes:
    return name(module, function) + b"(" + b"".join(arguments) + b"t" + b"R"


def entry(value: bytes, key: bytes = word("a")) -> bytes:
    """A dictionary of one entry, as a whole pickle."""
    return BEGIN + b"}" + key + value + b"s" + END


def storage(values: bytes, key: str = "0", kind: str = "FloatStorage") -> bytes:
    return b"(" + word("storage") + name("torch", kind) + word(key) + word("cpu") + values + b"tQ"


def tensor(stored: bytes) -> bytes:
    return call("torch._utils", "_rebuild_tensor_v2", stored, b"K\x00", b"K\x01\x85", b"K\x01\x85", b"\x89", b")")


def laughs(times: int) -> bytes:
    """A tuple of two of a tuple of two of …: as many opcodes as times, and 2**times values."""
    return b")" + b"".join(b"q\x00h\x00\x86" for _ in range(times))


HOSTILE: dict[str, tuple[bytes, str]] = {
    # what the issue names
    "5 GB of bytes": (entry(call("builtins", "bytearray", HUGE)), "asks its loader to call 'builtins.bytearray'"),
    # more of the kind
    "5 GB of bytes by the old name": (entry(call("__builtin__", "bytearray", HUGE)), "call 'builtins.bytearray'"),
    "a tensor made by its size": (entry(call("torch", "Tensor", HUGE)), "call 'torch.Tensor'"),
    "a tensor of an old type": (entry(call("torch", "FloatTensor", HUGE)), "call 'torch.FloatTensor'"),
    "a storage made by its size": (entry(call("torch.storage", "UntypedStorage", HUGE)), "UntypedStorage'"),
    "a storage of an old type": (entry(call("torch", "FloatStorage", HUGE)), "call 'torch.FloatStorage'"),
    "a storage that claims more than the file": (entry(tensor(storage(HUGE))), "claims a storage of 5,000,000,000"),
    "storages that claim it together": (
        entry(tensor(storage(b"M\x00\x02", "0")) + tensor(storage(b"M\x00\x04", "1")) + b"\x86"),
        "claims a storage of 1,024",
    ),
    "a storage of fewer than none": (entry(tensor(storage(b"J\xff\xff\xff\xff"))), "claims a storage of -1"),
    "an object of a class": (entry(name("torch", "Tensor") + HUGE + b"\x85\x81"), "make an object of a class"),
    "an object of a class with names": (entry(name("torch", "Tensor") + EMPTY + b"}\x92"), "make an object"),
    "an old instance": (entry(b"(" + HUGE + b"ibuiltins\nbytearray\n"), "make an object"),
    "a tuple of tuples as a key": (entry(b"N", laughs(60)), "values in values without end"),
    "a tuple of tuples in a set": (entry(call("builtins", "set", b"](" + laughs(60) + b"e")), "values in values"),
    "a tuple in a tuple in a tuple": (entry(b"N", b")" + b"\x85" * 50_000), "values in values without end"),
    "a tuple of all that there is": (entry(b"(" + b"N" * 20_000 + b"t"), "values in values without end"),
    "a function through a tensor's type": (
        entry(
            call("torch._tensor", "_rebuild_from_type_v2", name("builtins", "bytearray"), b"N", HUGE + b"\x85", b"N")
        ),
        "_rebuild_from_type_v2' with what no tensor needs",
    ),
    "a tensor of tensors": (entry(call("torch._utils", "_rebuild_nested_tensor", b"N", b"N", b"N")), "nested_tensor'"),
    "a tensor of a class": (entry(call("torch._utils", "_rebuild_wrapper_subclass", *[b"N"] * 9)), "subclass'"),
    "a tensor of numpy's": (entry(call("torch._utils", "_rebuild_device_tensor_from_numpy", b"N")), "from_numpy'"),
    "a tensor that has no storage": (
        entry(call("torch._utils", "_rebuild_meta_tensor_no_storage", b"N", HUGE + b"\x85", b")", b"\x89")),
        "no_storage'",
    ),
    "a strange encoding": (entry(call("_codecs", "encode", word("a" * 99), word("punycode"))), "strange encoding"),
    "an encoding without a name": (entry(call("_codecs", "encode", word("a"), b"N")), "strange encoding"),
    "a tensor changed after it was made": (entry(tensor(storage(b"K\x04")) + b")b"), "changes a value"),
    "a call of what is no function": (entry(word("eval") + b")R"), "call 'what is no function'"),
    "a call of what a call gave": (entry(call("collections", "OrderedDict") + b")R"), "what is no function"),
    "a call with no tuple": (entry(name("collections", "OrderedDict") + b"NR"), "call 'collections.OrderedDict'"),
    "a command": (entry(call("os", "system", word("true"))), r"call 'os\.system'"),
    "a name of control characters": (entry(call("o\x1b[31m", "x", b"N")), r"call 'o\\+x1b"),
    "a later protocol": (BEGIN + b"\x95" + b"\0" * 8 + END, "not a whole file"),
    "an opcode that is none": (BEGIN + b"\xff" + END, "not a whole file"),
    "a name without end": (BEGIN + b"c" + b"a" * 300 + END, "not a whole file"),
    "a text longer than the file": (BEGIN + b"X\xff\xff\xff\xff" + END, "not a whole file"),
    "a memo that was never put": (BEGIN + b"h\x07" + END, "not a whole file"),
    "an end without a begin": (BEGIN + b"t" + END, "not a whole file"),
    "nothing": (b"", "not a whole file"),
}


@pytest.fixture
def never_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch was given it"))


@pytest.mark.parametrize(("made", "said"), HOSTILE.values(), ids=HOSTILE)
def test_what_no_tensor_needs_is_refused_before_torch_reads_it(made: bytes, said: str, never_loaded):
    with pytest.raises(InvalidInput, match=said) as caught:
        read_header(Memory("x.bin", repacked(made)))
    assert str(caught.value).isprintable()
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize("made", [made for made, _ in HOSTILE.values()], ids=HOSTILE)
def test_the_old_format_is_gone_through_as_well(made: bytes, never_loaded):
    buffer = io.BytesIO()
    torch.save({"a": torch.ones(1)}, buffer, _use_new_zipfile_serialization=False)
    whole = buffer.getvalue()
    at = 0
    for _ in range(3):  # mark, version, machine
        at = check_pickle(whole, "x.bin", len(whole), at)
    with pytest.raises(InvalidInput):
        read_header(Memory("x.bin", whole[:at] + made))


def test_torch_finds_the_pickle_by_a_name_in_capitals_and_so_do_we(never_loaded):
    hostile = repacked(HOSTILE["5 GB of bytes"][0]).replace(b"data.pkl", b"DATA.PKL")
    with pytest.raises(InvalidInput, match="bytearray"):
        read_header(Memory("x.bin", hostile))


def test_a_quantised_tensor_is_named_as_such():
    with pytest.raises(Unsupported, match="quantised; save them as plain floats"):
        read_header(Memory("x.bin", repacked(entry(call("torch._utils", "_rebuild_qtensor", b"N")))))


def test_opcodes_are_counted(monkeypatch: pytest.MonkeyPatch, never_loaded):
    monkeypatch.setattr(opcodes, "MAX_OPCODES", 1_000)
    with pytest.raises(InvalidInput, match="more than 1,000 steps"):
        read_header(Memory("x.bin", repacked(entry(b"](" + b"N" * 1_000 + b"e"))))


def test_values_kept_at_once_are_counted(monkeypatch: pytest.MonkeyPatch, never_loaded):
    monkeypatch.setattr(opcodes, "MAX_STACK", 5_000)
    with pytest.raises(InvalidInput, match="keeps more than 5,000 values"):
        read_header(Memory("x.bin", repacked(entry(b"](" + b"N" * 9_000 + b"e"))))


def test_a_dictionary_that_stands_in_itself_many_times_is_not_walked_for_ever(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pickled, "_MAX_STEPS", 10_000)
    inner: dict = {"w": 1}
    for _ in range(3):
        inner = {f"{number}": inner for number in range(100)}
    buffer = io.BytesIO()
    torch.save(inner, buffer)
    with pytest.raises(InvalidInput, match="dictionaries in dictionaries without end"):
        read_header(Memory("x.bin", buffer.getvalue()))


@pytest.mark.parametrize("new", [True, False], ids=["zip", "old"])
def test_what_training_writes_beside_tensors_is_read(new: bool):
    weight = nn.Parameter(torch.ones(2))
    layer = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    beside = {
        "optimizer": torch.optim.Adam(layer.parameters()).state_dict(),
        "size": torch.Size([1, 2]),
        "dtype": torch.float16,
        "device": torch.device("cpu"),
        "bytes": b"x\xff",
        "set": {1},
        "complex": 1 + 2j,
        "counted": Counter("aab"),
        "ordered": OrderedDict(a=1),
        "whole": 2**70,
        "tuple": (1, (2.5, None), True),
    }
    buffer = io.BytesIO()
    state = layer.state_dict() | {"own": weight, "turned": torch.arange(6.0).reshape(2, 3).T}
    torch.save({"model": state, **beside}, buffer, _use_new_zipfile_serialization=new)
    found = read_header(Memory("x.pt", buffer.getvalue()))
    assert found.keys() == state.keys()
    for key, value in state.items():
        assert torch.equal(read_tensor(found[key]), value)


def test_the_weights_command_says_it_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture):
    base = pico.checkpoint(tmp_path / "base")
    capsys.readouterr()
    suspect = tmp_path / "mm_projector.bin"
    suspect.write_bytes(repacked(HOSTILE["5 GB of bytes"][0]))
    assert main(["weights", "--base", str(base), "--suspect", str(suspect)]) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said == (
        "mm_projector.bin asks its loader to call 'builtins.bytearray', which no tensor needs; nothing of it was run. "
        "Have its tensors saved alone, or as safetensors."
    )


@pytest.mark.parametrize("error", [OSError("gone"), Cancelled("stopped"), InvalidInput("it came too slowly")])
def test_what_happens_to_the_source_is_not_said_of_the_file(error: Exception):
    class Broken(io.BytesIO):
        def read(self, *_: object) -> bytes:
            raise error

        readinto = readline = read

    with pytest.raises(type(error), match=str(error)):
        pickled._load(SimpleNamespace(name="f.pt"), Broken(b"x"), "cpu")
