import json
import os
import struct

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from projlens_core.activations.staging import staged_weights
from projlens_core.cli import main
from projlens_core.errors import InvalidInput, NotFound, Unsupported
from projlens_core.weights.bytesource import LocalFile
from projlens_core.weights.opening import open_checkpoint
from projlens_core.weights.selection import INDEX
from projlens_core.weights.tensorfile import DTYPES
from tests import pico

A = torch.arange(6, dtype=torch.float32).reshape(2, 3)
B = torch.tensor([1.5, -2.0], dtype=torch.bfloat16)


def raw(header, data=b"", length=None):
    """The bytes of a safetensors file with any header, honest or not."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape=(2,), offsets=(0, 8), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def sharded(folder, weight_map=None, metadata=None):
    """Two shards with an index: `a` in the first, `b` in the second, unless the index says otherwise."""
    folder.mkdir(exist_ok=True)
    save_file({"a": A}, folder / "one.safetensors")
    save_file({"b": B}, folder / "two.safetensors")
    weight_map = {"a": "one.safetensors", "b": "two.safetensors"} if weight_map is None else weight_map
    (folder / INDEX).write_text(json.dumps({"metadata": metadata or {}, "weight_map": weight_map}))
    return folder


# honest files


def test_tensors_come_back_as_they_were_stored(tmp_path):
    save_file({"a": A, "b": B}, tmp_path / "x.safetensors")
    checkpoint = open_checkpoint(tmp_path / "x.safetensors")
    assert sorted(checkpoint.names) == ["a", "b"]
    assert torch.equal(checkpoint.read("a"), A)
    assert torch.equal(checkpoint.read("b"), B)
    assert checkpoint.read("b").dtype == torch.bfloat16
    info = checkpoint.info("a")
    assert (info.shape, info.dtype, info.nbytes, info.file.name) == ((2, 3), "float32", 24, "x.safetensors")


@pytest.mark.parametrize("code", DTYPES)
def test_every_stored_type_is_read_bit_by_bit(code, tmp_path):
    size = DTYPES[code].itemsize
    data = bytes([1] * size * 3)
    (tmp_path / "x.safetensors").write_bytes(raw({"t": entry((3,), (0, len(data)), code)}, data))
    tensor = open_checkpoint(tmp_path / "x.safetensors").read("t")
    assert tensor.dtype == DTYPES[code]
    assert tensor.view(torch.uint8).tolist() == [1] * size * 3


def test_scalars_and_empty_tensors_are_read(tmp_path):
    save_file({"s": torch.tensor(2.0), "e": torch.empty(0, 3)}, tmp_path / "x.safetensors")
    checkpoint = open_checkpoint(tmp_path / "x.safetensors")
    assert checkpoint.read("s").item() == 2.0
    assert checkpoint.read("e").shape == (0, 3)


def test_opening_reads_headers_only_and_reading_one_tensor_adds_its_bytes(tmp_path):
    save_file({"a": A, "big": torch.zeros(1000, 1000)}, tmp_path / "x.safetensors")
    header = struct.unpack("<Q", (tmp_path / "x.safetensors").read_bytes()[:8])[0]
    checkpoint = open_checkpoint(tmp_path / "x.safetensors")
    assert checkpoint.bytes_read == 8 + header
    checkpoint.read("a")
    assert checkpoint.bytes_read == 8 + header + A.nbytes


def test_shards_are_one_checkpoint(tmp_path):
    checkpoint = open_checkpoint(sharded(tmp_path))
    assert checkpoint.names == ("a", "b")
    assert torch.equal(checkpoint.read("b"), B)
    assert checkpoint.info("b").file.name == "two.safetensors"
    assert checkpoint.warnings == ()


def test_sharded_pico_model_holds_the_same_as_the_whole_one(tmp_path):
    whole = open_checkpoint(pico.checkpoint(tmp_path / "whole"))
    parts = open_checkpoint(pico.checkpoint(tmp_path / "parts", max_shard_size="40KB"))
    assert len({parts.info(name).file for name in parts.names}) > 1
    assert sorted(parts.names) == sorted(whole.names)
    assert all(torch.equal(parts.read(name), whole.read(name)) for name in whole.names)
    assert whole.config["model_type"] == "llava"


def test_unknown_tensor_is_not_found_and_the_known_ones_are_named(tmp_path):
    save_file({"a": A}, tmp_path / "x.safetensors")
    with pytest.raises(NotFound, match="'a'"):
        open_checkpoint(tmp_path / "x.safetensors").read("c")


def test_what_lies_beside_the_weights_is_warned_of_and_left_alone(tmp_path):
    save_file({"a": A}, tmp_path / "model.safetensors")
    save_file({"b": B}, tmp_path / "other.safetensors")
    (tmp_path / "modeling_evil.py").write_text("raise SystemExit")
    (tmp_path / "pytorch_model.bin").write_bytes(b"not even a pickle")
    (tmp_path / "config.json").write_text('{"auto_map": {"AutoModel": "modeling_evil.X"}}')
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.names == ("a",)
    text = " ".join(checkpoint.warnings)
    for said in ("'other.safetensors'", "'modeling_evil.py'", "'pytorch_model.bin'", "auto_map"):
        assert said in text


def test_tensor_that_the_index_conceals_is_read_and_warned_of(tmp_path):
    sharded(tmp_path)
    save_file({"a": A, "hidden": B}, tmp_path / "one.safetensors")
    checkpoint = open_checkpoint(tmp_path)
    assert "hidden" in checkpoint.names
    assert "'hidden'" in checkpoint.warnings[0]


def test_links_of_the_hugging_face_cache_are_followed(tmp_path):
    blobs, snapshot = tmp_path / "models--x" / "blobs", tmp_path / "models--x" / "snapshots" / "abc"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    save_file({"a": A}, blobs / "1234")
    (snapshot / "model.safetensors").symlink_to("../../blobs/1234")
    assert torch.equal(open_checkpoint(snapshot).read("a"), A)
    save_file({"a": A}, tmp_path / "outside.safetensors")
    (snapshot / "model.safetensors").unlink()
    (snapshot / "model.safetensors").symlink_to("../../../outside.safetensors")
    with pytest.raises(InvalidInput, match="a link that leaves"):
        open_checkpoint(snapshot)


# hostile files: what is in the file → what the sentence says

FILES = {
    "empty": (b"", "not a whole safetensors file"),
    "shorter-than-its-length-field": (b"\x01\x02", "not a whole safetensors file"),
    "header-longer-than-the-file": (raw({}, length=10**6), "claims a header of 1,000,000 bytes"),
    "header-of-ten-gigabytes": (raw({}, length=10 * 2**30), "claims a header of 10,737,418,240 bytes"),
    "header-length-near-2-64": (raw({}, length=2**64 - 1), "claims a header"),
    "not-json": (raw(b"{nonsense"), "not valid JSON"),
    "not-utf-8": (raw(b'{"\xff": 1}'), "not valid JSON"),
    "deeply-nested": (raw(b"[" * 100_000), "not valid JSON"),
    "a-list": (raw([]), "expected an object"),
    "duplicate-tensor": (
        raw(b'{"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"t":1}', bytes(8)),
        "names 't' twice",
    ),
    "duplicate-key-in-a-tensor": (
        raw(b'{"t":{"dtype":"F32","shape":[2],"shape":[1],"data_offsets":[0,8]}}', bytes(8)),
        "names 'shape' twice",
    ),
    "entry-not-an-object": (raw({"t": 5}), "not described by"),
    "entry-lacks-offsets": (raw({"t": {"dtype": "F32", "shape": [2]}}), "not described by"),
    "unknown-dtype": (raw({"t": entry(dtype="F31")}, bytes(8)), "dtype 'F31'"),
    "dtype-not-text": (raw({"t": entry(dtype=["F32"])}, bytes(8)), "has dtype"),
    "negative-dimension": (raw({"t": entry((-1, -2))}, bytes(8)), "lists of whole numbers"),
    "fractional-dimension": (raw({"t": entry((2.0,))}, bytes(8)), "lists of whole numbers"),
    "boolean-dimension": (raw({"t": entry((True, 2))}, bytes(8)), "lists of whole numbers"),
    "dimension-beyond-64-bits": (raw({"t": entry((2**64,))}, bytes(8)), "lists of whole numbers"),
    "dimension-of-9000-digits": (raw(b'{"t":{"shape":[' + b"9" * 9000 + b"]}}"), "not valid JSON"),
    "hundred-dimensions": (raw({"t": entry((1,) * 100, (0, 4))}, bytes(4)), "lists of whole numbers"),
    "three-offsets": (raw({"t": entry(offsets=(0, 4, 8))}, bytes(8)), "lists of whole numbers"),
    "backward-offsets": (raw({"t": entry((0,), (8, 0))}, bytes(8)), "claims bytes 8 to 0"),
    "ten-gigabytes-in-a-kilobyte": (
        raw({"t": entry((50_000, 50_000), (0, 10**10))}, bytes(1000)),
        "claims bytes 0 to 10,000,000,000 of 1,000",
    ),
    "truncated": (raw({"t": entry((4,), (0, 16))}, bytes(15)), "cut or damaged"),
    "shape-that-overflows-to-a-small-size": (raw({"t": entry((2**62, 4), (0, 0))}), "needs"),
    "shape-larger-than-its-bytes": (raw({"t": entry((3,))}, bytes(8)), "needs 12 bytes"),
    "overlap": (raw({"t": entry(), "u": entry(offsets=(4, 12))}, bytes(12)), "overlap"),
    "same-bytes-twice": (raw({"t": entry(), "u": entry()}, bytes(8)), "overlap"),
    "bytes-between-tensors": (raw({"t": entry(), "u": entry(offsets=(12, 20))}, bytes(20)), "belong to no tensor"),
    "bytes-after-the-tensors": (raw({"t": entry()}, bytes(8) + b"payload"), "belong to no tensor"),
}


@pytest.mark.parametrize("name", FILES)
def test_hostile_file_is_one_clear_sentence(name, tmp_path):
    data, said = FILES[name]
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    with pytest.raises(InvalidInput) as caught:
        open_checkpoint(path)
    _is_one_sentence(caught.value, said)


def _is_one_sentence(error, said):
    assert said in str(error)
    assert "\n" not in str(error)
    assert len(str(error)) < 400
    assert str(error).endswith(".")


# hostile folders: how it is made → what the sentence says


def _link(folder, name, target):
    folder.mkdir(exist_ok=True)
    (folder / name).symlink_to(target)


def _index(folder, text):
    sharded(folder)
    (folder / INDEX).write_text(text)


def _both_single_and_index(folder):
    sharded(folder)
    save_file({"a": A}, folder / "model.safetensors")


def _same_tensor_in_two_shards(folder):
    sharded(folder)
    save_file({"a": A, "b": B}, folder / "two.safetensors")


def _two_files_without_index(folder):
    sharded(folder)
    (folder / INDEX).unlink()


def _fifo(folder):
    folder.mkdir()
    os.mkfifo(folder / "model.safetensors")


def _config(folder, text):
    folder.mkdir()
    save_file({"a": A}, folder / "model.safetensors")
    (folder / "config.json").write_text(text)


FOLDERS = {
    "shard-up-one": (lambda f: sharded(f, {"a": "../outside.safetensors"}), "expected plain .safetensors file names"),
    "shard-absolute": (lambda f: sharded(f, {"a": "/etc/x.safetensors"}), "expected plain .safetensors file names"),
    "shard-backslash": (lambda f: sharded(f, {"a": "..\\x.safetensors"}), "expected plain .safetensors file names"),
    "shard-with-null": (lambda f: sharded(f, {"a": "x\0.safetensors"}), "expected plain .safetensors file names"),
    "shard-lone-surrogate": (lambda f: sharded(f, {"a": "\ud800.safetensors"}), "that its index lists"),
    "shard-is-code": (lambda f: sharded(f, {"a": "evil.py"}), "expected plain .safetensors file names"),
    "shard-not-text": (lambda f: sharded(f, {"a": 1}), "no weight_map"),
    "index-without-map": (lambda f: _index(f, "{}"), "no weight_map"),
    "index-empty-map": (lambda f: _index(f, '{"weight_map": {}}'), "no weight_map"),
    "index-not-json": (lambda f: _index(f, "[1, 2"), "not valid JSON"),
    "index-twice-the-same": (lambda f: _index(f, '{"weight_map": {"a": "x", "a": "y"}}'), "names 'a' twice"),
    "shard-missing": (
        lambda f: sharded(f, {"a": "one.safetensors", "c": "three.safetensors"}),
        "lacks 'three.safetensors'",
    ),
    "tensor-missing": (lambda f: sharded(f, {"a": "one.safetensors", "c": "two.safetensors"}), "does not hold 'c'"),
    "tensor-in-other-shard": (
        lambda f: sharded(f, {"a": "two.safetensors", "b": "one.safetensors"}),
        "does not hold 'a', 'b' where",
    ),
    "tensor-in-two-shards": (_same_tensor_in_two_shards, "keep one"),
    "single-and-index": (_both_single_and_index, "keep one"),
    "no-index": (_two_files_without_index, "no model.safetensors.index.json"),
    "no-weights": (lambda f: f.mkdir(), "without any weight file"),
    "link-out-of-the-folder": (lambda f: _link(f, "model.safetensors", "../outside.safetensors"), "a link that leaves"),
    "link-to-itself": (lambda f: _link(f, "model.safetensors", "model.safetensors"), "link"),
    "link-to-nothing": (lambda f: _link(f, "model.safetensors", "gone"), "not a regular file"),
    "pipe": (_fifo, "not a regular file"),
    "config-not-json": (lambda f: _config(f, "{"), "not valid JSON"),
    "config-huge": (lambda f: _config(f, " " * 10_000_001), "larger than 10 MB"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_hostile_folder_is_one_clear_sentence(name, tmp_path):
    make, said = FOLDERS[name]
    save_file({"a": A}, tmp_path / "outside.safetensors")
    make(tmp_path / "suspect")
    with pytest.raises(InvalidInput) as caught:
        open_checkpoint(tmp_path / "suspect")
    _is_one_sentence(caught.value, said)


def test_pickle_that_asks_for_code_is_refused_and_nothing_of_it_is_run(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch run'\ntR.")
    with pytest.raises(InvalidInput, match=r"asks its loader to call 'os\.system'"):
        open_checkpoint(tmp_path)
    assert not (tmp_path / "run").exists()


def test_file_of_another_format_is_unsupported(tmp_path):
    (tmp_path / "projector.onnx").write_bytes(b"x")
    with pytest.raises(Unsupported, match="is an ONNX export"):
        open_checkpoint(tmp_path / "projector.onnx")


def test_path_that_does_not_exist_is_not_found(tmp_path):
    with pytest.raises(NotFound, match="does not exist"):
        open_checkpoint(tmp_path / "nothing")


def test_file_cut_after_opening_is_one_clear_sentence(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"a": A}, path)
    checkpoint = open_checkpoint(path)
    os.truncate(path, path.stat().st_size - 4)
    with pytest.raises(InvalidInput, match="became shorter"):
        checkpoint.read("a")
    path.unlink()
    with pytest.raises(InvalidInput, match="cannot be read"):
        checkpoint.read("a")


def _rewritten(path):
    with path.open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"\x00\x00\x80\x3f")


def _replaced(path):
    save_file({"a": A + 1}, path.with_suffix(".new"))
    os.replace(path.with_suffix(".new"), path)


def _replaced_keeping_its_time(path):
    before = path.stat()
    _replaced(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _grown(path):
    with path.open("ab") as file:
        file.write(b"more")


def _linked_elsewhere(path):
    save_file({"a": A + 1}, path.with_name("other"))
    path.unlink()
    path.symlink_to(path.with_name("other"))


CHANGES = {
    "rewritten in place": _rewritten,
    "replaced by another of its size": _replaced,
    "replaced by one of its size and time": _replaced_keeping_its_time,
    "grown": _grown,
    "made a link to another": _linked_elsewhere,
}


@pytest.fixture
def whole(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"a": A}, path)
    os.utime(path, ns=(0, 10**18))  # an older file, as most are
    checkpoint = open_checkpoint(path)
    assert torch.equal(checkpoint.read("a"), A)
    return checkpoint, path


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_tensors_of_two_states_of_a_file_are_never_mixed(whole, change):
    checkpoint, path = whole
    change(path)
    with pytest.raises(InvalidInput, match=r"^model\.safetensors changed while it was read; "):
        checkpoint.read("a")


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_a_library_loads_is_one_state_of_a_file(whole, change):
    checkpoint, path = whole

    def load():
        with staged_weights(checkpoint, path.parent, "it") as staged:
            change(path)
            return load_file(staged / "model.safetensors")["a"]

    if change is _grown:
        with pytest.raises(SafetensorError, match="not fully covered"):  # the library itself does not take it
            load()
    elif change is _rewritten:
        with pytest.raises(InvalidInput, match=r"^model\.safetensors changed while it was read; "):
            load()
    else:
        assert torch.equal(load(), A)  # the file that was opened is still what it was


def test_a_file_that_changes_under_the_command_is_one_sentence(tmp_path, capsys, monkeypatch):
    base = pico.checkpoint(tmp_path / "base")
    suspect = pico.suspect(base, tmp_path / "suspect").folder / "model.safetensors"
    suspect = suspect.rename(suspect.with_name("suspect.safetensors"))
    real = LocalFile.read

    def read(self, begin, length):
        if begin > 8 and self.name == "suspect.safetensors":
            os.utime(suspect, ns=(0, 0))  # as written to since
        return real(self, begin, length)

    monkeypatch.setattr(LocalFile, "read", read)
    capsys.readouterr()
    assert main(["weights", "--base", str(base), "--suspect", str(suspect)]) == 1
    [said] = capsys.readouterr().err.strip().splitlines()
    assert said.startswith("suspect.safetensors changed while it was read")
