"""What circulates instead of a checkpoint's own files: read where that is plain, else one sentence with the remedy."""

import argparse
import json
import pathlib
import shutil
import zipfile
from io import BytesIO

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import load_file, save_file
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

from projlens_core.cli import main
from projlens_core.errors import ProjLensError
from projlens_core.weights.opening import open_checkpoint
from projlens_core.weights.proof import NOT_COMPARED, prove
from tests import pico

SECOND = "multi_modal_projector.linear_2.weight"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4665a5ea423c2713d436b5ee50593a9640e0018c1550b5a0002f7419\nsize 1\n"  # noqa: E501


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return pico.checkpoint(tmp_path_factory.mktemp("foreign") / "base")


@pytest.fixture
def tuned(base):
    """The base's tensors with a change in the projector, and the change."""
    tensors = load_file(base / "model.safetensors")
    delta = torch.randn(tensors[SECOND].shape, generator=torch.Generator().manual_seed(3))
    tensors[SECOND] = tensors[SECOND] + delta
    return tensors, delta


def refused(capsys, base, suspect):
    """The sentence with which the command refuses it."""
    code = main(["weights", "--base", str(base), "--suspect", str(suspect)])
    out, err = capsys.readouterr()
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    return err


def changed(capsys, base, suspect):
    """{tensor: ‖Δ‖} of what the command finds changed."""
    code = main(["weights", "--base", str(base), "--suspect", str(suspect), "--json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    return {t["name"]: t["frobenius"] for t in json.loads(out)["tensors"] if t["changed"]}


def packed(write):
    buffer = BytesIO()
    write(buffer)
    return buffer.getvalue()


def a_zip(buffer):
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model/x", "x")


# single files: by what they hold

ONE = {"a": torch.ones(2)}
CONTENTS = {
    "a Git LFS pointer": ("model.safetensors", POINTER, "is a Git LFS pointer, not the file; run `git lfs pull`."),
    "a Git LFS pointer to a pickle": ("mm_projector.bin", POINTER, "run `git lfs pull`"),
    "a Git LFS pointer to a GGUF": ("mmproj.gguf", POINTER, "run `git lfs pull`"),
    "a git-annex pointer": ("model.safetensors", b"/annex/objects/SHA256E-s1--ab.x\n", "run `git annex get model.safe"),
    "a web page": ("model.safetensors", b"<!DOCTYPE html><html><head>", "a web page, as a failed download leaves"),
    "a web page in capitals": ("x.pt", b"\n\n<HTML>no</HTML>", "a web page"),
    "an error as JSON": ("model.safetensors", b'{"error":"Repository not found"}', "the answer of a server"),
    "an error as text": ("pytorch_model.bin", b"Entry not found", "the answer of a server"),
    "a refusal of a gated model": ("x.bin", b"Access to model x is restricted", "logged in if it is gated"),
    "a gzip": ("model.safetensors", b"\x1f\x8b\x08\0aaaaaaaaaaaa", "unpack it with `gunzip`"),
    "a zstd": ("x.bin", b"\x28\xb5\x2f\xfdaaaaaaaaaaaa", "packed by zstd"),
    "a tar": ("pytorch_model.bin", bytes(257) + b"ustar\0" + bytes(300), "a tar archive"),
    "TensorFlow's": ("pytorch_model.bin", b"\x89HDF\r\n\x1a\n" + bytes(90), "TensorFlow's form; convert it with"),
    "an array of NumPy": ("x.pt", packed(lambda b: np.save(b, np.ones(3))), "one array of NumPy"),
    "a torch file called safetensors": (
        "model.safetensors",
        packed(lambda b: torch.save(ONE, b)),
        "is a torch file under another name; call it something that ends in .bin.",
    ),
    "a GGUF called bin": ("mmproj.bin", b"GGUF\3\0\0\0" + bytes(80), "a GGUF file under another name"),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_a_file_that_is_not_what_its_name_says_is_named(base, tmp_path, capsys, name):
    file, content, said = CONTENTS[name]
    (tmp_path / file).write_bytes(content)
    assert said in refused(capsys, base, tmp_path / file)
    (tmp_path / "config.json").write_bytes((base / "config.json").read_bytes())
    if file in ("model.safetensors", "pytorch_model.bin"):
        assert said in refused(capsys, base, tmp_path)


def test_safetensors_called_bin_are_named(base, tmp_path, capsys):
    save_file(ONE, tmp_path / "mm_projector.bin")
    assert "is a safetensors file under another name; call it something that ends in .safetensors" in refused(
        capsys, base, tmp_path / "mm_projector.bin"
    )


@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json"])
def test_a_pointer_in_place_of_a_config_or_an_index_is_named(base, tmp_path, capsys, name):
    save_file(ONE, tmp_path / "one.safetensors")
    (tmp_path / name).write_bytes(POINTER)
    assert f"{name} is a Git LFS pointer, not the file; run `git lfs pull`" in refused(capsys, base, tmp_path)


# single files: by their names

NAMES = {
    "tf_model.h5": "from_tf=True",
    "flax_model.msgpack": "from_flax=True",
    "model.onnx": "an ONNX export",
    "model.onnx_data": "an ONNX export",
    "weights.npz": "torch.save({k: torch.from_numpy(v)",
    "projector.npy": "one array of NumPy",
    "model.ckpt.index": "TensorFlow's",
    "model.ckpt.data-00000-of-00001": "TensorFlow's",
    "saved_model.pb": "TensorFlow's",
    "model.tflite": "compiled for one kind of device",
    "rank0.engine": "compiled for one kind of device",
    "model.mlmodel": "compiled for one kind of device",
    "model.pdparams": "PaddlePaddle's",
    "__0_0.distcp": "a piece of a distributed checkpoint; give its folder",
    "model.nemo": "unpack it with `tar -xf`",
    "model.tar.gz": "unpack it with `tar -xf`",
    "model.zip": "unpack it with `unzip`",
    "model.7z": "unpack it",
    "model.safetensors.incomplete": "a download that did not end",
    "model.pkl": "a pickle of any objects, which runs code when it is loaded",
    "model.safetensors.index.json": "an index of weight files; give its folder",
    "config.json": "a text about a model; give the folder",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_another_form_is_named_with_what_to_do(base, tmp_path, capsys, name):
    (tmp_path / name).write_bytes(b"x")
    assert NAMES[name] in refused(capsys, base, tmp_path / name)


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith((".json", ".distcp"))])
def test_a_folder_with_nothing_else_says_what_it_holds(base, tmp_path, capsys, name):
    (tmp_path / name).write_bytes(b"x")
    shutil.copy(base / "config.json", tmp_path)
    said = refused(capsys, base, tmp_path)
    assert "holds no weights that are read" in said
    assert NAMES[name] in said


def test_control_characters_in_such_names_are_escaped(base, tmp_path, capsys):
    (tmp_path / "a\x1b[31m.onnx").write_bytes(b"x")
    assert "\x1b" not in refused(capsys, base, tmp_path)


# folders

ZERO = ("bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt", "mp_rank_00_model_states.pt")


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


FOLDERS = {
    "a ZeRO checkpoint": (
        (*(f"global_step500/{name}" for name in ZERO), "zero_to_fp32.py", "latest"),
        "in pieces in global_step500; run `python -m deepspeed.utils.zero_to_fp32 . pytorch_model.bin` in it",
    ),
    "a ZeRO checkpoint's last step": (
        (f"global_step99/{ZERO[0]}", f"global_step1000/{ZERO[0]}", "zero_to_fp32.py"),
        "in pieces in global_step1000",
    ),
    "a trainer's checkpoint in ZeRO's pieces": (
        (f"global_step500/{ZERO[0]}", "zero_to_fp32.py", "rng_state_0.pth", "scheduler.pt", "training_args.bin"),
        "is a ZeRO checkpoint",
    ),
    "the pieces themselves": (ZERO, "holds pieces of a ZeRO checkpoint; run `python -m deepspeed.utils.zero_to_fp32"),
    "a distributed checkpoint": (
        (".metadata", "__0_0.distcp", "__1_0.distcp"),
        "run `python -m torch.distributed.checkpoint.format_utils dcp_to_torch suspect model.pt`",
    ),
    "Lightning's distributed checkpoint": ((".metadata", "__0_0.distcp", "meta.pt"), "a distributed checkpoint"),
    "a trainer's FSDP": (
        (
            "pytorch_model_fsdp_0/.metadata",
            "pytorch_model_fsdp_0/__0_0.distcp",
            "optimizer_0/__0_0.distcp",
            "scheduler.pt",
        ),
        "dcp_to_torch pytorch_model_fsdp_0 model.pt`",
    ),
    "the folder above a checkpoint": (("checkpoint-500/model.safetensors",), "give …/checkpoint-500."),
    "the folder above several": (
        ("checkpoint-500/model.safetensors", "checkpoint-1000/model.safetensors", "runs/x.txt"),
        "its folders 'checkpoint-500', 'checkpoint-1000' do; give …/checkpoint-1000.",
    ),
    "the folder above an adapter": (("checkpoint-7/adapter_model.safetensors",), "give …/checkpoint-7."),
    "a repository of the cache": (
        ("snapshots/0123abcd/model.safetensors", "refs/main", "blobs/ab"),
        "give …/snapshots/0123abcd.",
    ),
    "the snapshots of a repository": (("0123abcd/pytorch_model.bin",), "give …/0123abcd."),
    "a pipeline's folder": (("transformer/model.safetensors", "model_index.json"), "give …/transformer."),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_without_weights_says_where_they_are_or_how_to_get_them(base, tmp_path, capsys, name):
    files, said = FOLDERS[name]
    sentence = refused(capsys, base, touch(tmp_path / "suspect", *files))
    assert said in sentence
    if "zero_to_fp32.py" in files:
        assert "not the zero_to_fp32.py that lies there" in sentence


def test_a_trainers_checkpoint_with_its_weights_is_read_whatever_lies_beside(base, tmp_path, capsys, tuned):
    tensors, delta = tuned
    folder = touch(tmp_path / "checkpoint-500", f"global_step500/{ZERO[0]}", "zero_to_fp32.py", *ZERO, "rng_state.pth")
    shutil.copy(base / "config.json", folder)
    save_file(tensors, folder / "model.safetensors")
    assert changed(capsys, base, folder) == {"linear_2.weight": pytest.approx(delta.norm().item(), rel=1e-5)}


def test_a_folder_deep_down_or_behind_a_link_is_not_looked_into(base, tmp_path, capsys):
    outside = touch(tmp_path / "outside", "checkpoint-1/model.safetensors")
    (tmp_path / "suspect").mkdir()
    (tmp_path / "suspect" / "linked").symlink_to(outside)
    touch(tmp_path / "suspect", "a/b/c/d/model.safetensors")
    assert "a folder without any weight file" in refused(capsys, base, tmp_path / "suspect")


# ZeRO-3's empties


def test_an_empty_projector_is_named_with_its_remedy(base, tmp_path, capsys, tuned):
    tensors, _ = tuned
    tensors = {name: t if t.dim() < 2 else torch.empty(0) for name, t in tensors.items()}
    shutil.copytree(base, tmp_path / "suspect")
    save_file(tensors, tmp_path / "suspect" / "model.safetensors")
    said = refused(capsys, base, tmp_path / "suspect")
    assert "'multi_modal_projector.linear_2.weight' empty, since ZeRO stage 3 saved it without gathering" in said
    assert "run `python -m deepspeed.utils.zero_to_fp32 . pytorch_model.bin`" in said


def test_a_whole_projector_among_empties_is_compared_and_they_are_listed(base, tmp_path, capsys, tuned):
    tensors, delta = tuned
    empty = {name: torch.empty(0) for name in tensors if "projector" not in name}
    shutil.copytree(base, tmp_path / "suspect")
    save_file(tensors | empty, tmp_path / "suspect" / "model.safetensors")
    assert changed(capsys, base, tmp_path / "suspect") == {
        "linear_2.weight": pytest.approx(delta.norm().item(), rel=1e-5)
    }
    assert "are stored empty, as ZeRO stage 3 leaves" in open_checkpoint(tmp_path / "suspect").warnings[0]
    reasons = {f.reason for f in prove(base, tmp_path / "suspect").of(NOT_COMPARED)}
    assert reasons == {"the suspect holds it empty"}


# Lightning's checkpoints


def lightning(tensors, **settings):
    return {
        "epoch": 1,
        "global_step": 500,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": {f"model.{name}": t for name, t in tensors.items()},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}}],
        "callbacks": {"ModelCheckpoint{'monitor': 'loss'}": {"best_model_score": torch.tensor(0.1)}},
        "loops": {"fit_loop": {"state_dict": {}}},
        **settings,
    }


SETTINGS = {
    "plain settings": {"hyper_parameters": {"lr": 1e-4, "freeze": ["tower"]}},
    "a command line": {"hyper_parameters": argparse.Namespace(lr=1e-4)},
    "a command line with paths": {"hyper_parameters": argparse.Namespace(data=pathlib.PosixPath("/data"))},
    "paths": {"hyper_parameters": {"data": pathlib.PurePosixPath("/data")}},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_lightning_checkpoint_gives_its_model(base, tmp_path, capsys, tuned, name):
    tensors, delta = tuned
    torch.save(lightning(tensors, **SETTINGS[name]), tmp_path / "last.ckpt")
    found = changed(capsys, base, tmp_path / "last.ckpt")
    assert found == {"linear_2.weight": pytest.approx(delta.norm().item(), rel=1e-5)}


def test_a_lightning_checkpoint_alone_in_a_folder_is_taken_and_beside_another_it_is_not(base, tmp_path, tuned):
    tensors, _ = tuned
    torch.save(lightning(tensors), tmp_path / "last.ckpt")
    assert f"model.{SECOND}" in open_checkpoint(tmp_path).names
    torch.save(ONE, tmp_path / "pytorch_model.bin")
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.names == ("a",)
    assert "'last.ckpt' is a pickle beside the weights" in checkpoint.warnings[0]


class Loud:
    """Reaches for a function when it is unpickled, as code that is meant to run would."""

    def __reduce__(self):
        return print, ("ran",)


def test_a_lightning_checkpoint_that_asks_for_code_is_refused_and_nothing_runs(base, tmp_path, capsys, tuned):
    torch.save(lightning(tuned[0], hyper_parameters=Loud()), tmp_path / "last.ckpt")
    assert "asks its loader to call" in refused(capsys, base, tmp_path / "last.ckpt")


def test_stand_ins_keep_nothing_of_what_they_are_given(base, tmp_path, tuned):
    settings = argparse.Namespace(weights={"multi_modal_projector.hidden.weight": torch.ones(3)})
    torch.save(lightning(tuned[0], hyper_parameters=settings), tmp_path / "last.ckpt")
    assert not any("hidden" in name for name in open_checkpoint(tmp_path / "last.ckpt").names)


# the remedies work


def test_the_command_for_a_distributed_checkpoint_gives_a_file_that_is_read(base, tmp_path, capsys, tuned):
    tensors, delta = tuned
    dcp.save({"model": tensors}, checkpoint_id=tmp_path / "suspect", no_dist=True)
    assert "dcp_to_torch suspect model.pt" in refused(capsys, base, tmp_path / "suspect")
    dcp_to_torch_save(tmp_path / "suspect", tmp_path / "model.pt")
    found = changed(capsys, base, tmp_path / "model.pt")
    assert found == {"linear_2.weight": pytest.approx(delta.norm().item(), rel=1e-5)}


def test_the_command_for_an_npz_gives_a_file_that_is_read(base, tmp_path, monkeypatch, capsys, tuned):
    tensors, delta = tuned
    np.savez(tmp_path / "weights.npz", **{name: t.numpy() for name, t in tensors.items()})
    command = refused(capsys, base, tmp_path / "weights.npz").split('python -c "')[1].split('"`')[0]
    monkeypatch.chdir(tmp_path)
    exec(command)  # what the user is told to run
    found = changed(capsys, base, tmp_path / "weights.pt")
    assert found == {"linear_2.weight": pytest.approx(delta.norm().item(), rel=1e-5)}


@pytest.mark.parametrize("name", ["a.onnx", "a.pkl", "a.xyz", "a"])
def test_what_is_not_read_is_refused_as_a_user_s_error(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ProjLensError):
        open_checkpoint(tmp_path / name)
