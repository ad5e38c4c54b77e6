"""Models and images in the forms in which they circulate, at the pages' door."""

import json
import os
import shutil
import struct
import zlib
from io import BytesIO

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests import pico
from tests.dashboard.conftest import texts, titles
from tests.quantisers import QUANTISERS

SECOND = "multi_modal_projector.linear_2.weight"


def suspect_of(models, folder, change, config=None):
    """A copy of the suspect whose tensors `change` makes others of, and whose config has other entries."""
    shutil.copytree(models.suspect, folder)
    tensors = change(load_file(folder / "model.safetensors"))
    save_file({name: t.contiguous() for name, t in tensors.items()}, folder / "model.safetensors")
    if config:
        entries = json.loads((folder / "config.json").read_text()) | config
        (folder / "config.json").write_text(json.dumps(entries))
    return folder


def wrapped(tensors):
    return {f"_orig_mod.{n.replace('linear_2.', 'linear_2._fsdp_wrapped_module.')}": t for n, t in tensors.items()}


def quantised(name):
    def change(tensors):
        made = QUANTISERS[name](tensors.pop(SECOND))
        return tensors | {f"{SECOND.removesuffix('.weight')}.{leaf}": t for leaf, t in made.tensors.items()}

    return change


FORMS = {
    "wrapped names": (wrapped, None),
    "an activation's other name": (dict, {"projector_hidden_act": "swish"}),
    "an activation nobody knows": (dict, {"projector_hidden_act": "evil"}),
    "bitsandbytes nf4": (quantised("bitsandbytes nf4"), QUANTISERS["bitsandbytes nf4"](torch.ones(2, 64)).config),
    "fp8 with scales": (quantised("fp8 e4m3, a scale a row"), {"quantization_config": {"quant_method": "fp8"}}),
}


@pytest.mark.parametrize("name", FORMS)
def test_the_case_page_compares_a_suspect_in_this_form(open_page, models, tmp_path, name):
    folder = suspect_of(models, tmp_path / "suspect", *FORMS[name])
    app = open_page(params={"base": str(models.base), "suspect": str(folder)})
    assert not app.exception
    assert "Singular values of ΔW₂" in titles(app)
    changed = app.dataframe[0].value.set_index("tensor")["‖Δ‖"]
    assert changed["linear_2.weight"] == pytest.approx(6.325, rel=0.2)  # √(6² + 2²), and what quantising adds
    assert changed["linear_1.weight"] == 0


def test_the_case_page_says_of_a_quantised_suspect_what_quantising_alone_does(open_page, models, tmp_path):
    folder = suspect_of(models, tmp_path / "suspect", quantised("bitsandbytes nf4"))
    app = open_page(params={"base": str(models.base), "suspect": str(folder)})
    app.segmented_control(key="case_view").set_value("What was not compared").run()
    assert "stored quantised (bitsandbytes nf4)" in texts(app)


def _pointer(folder):
    (folder / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


def _above(folder):
    (folder / "checkpoint-500").mkdir()
    (folder / "model.safetensors").rename(folder / "checkpoint-500" / "model.safetensors")


def _zero(folder):
    (folder / "model.safetensors").unlink()
    (folder / "zero_to_fp32.py").write_text("raise SystemExit")
    (folder / "global_step500").mkdir()
    (folder / "global_step500" / "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt").write_bytes(b"x")


def _distributed(folder):
    (folder / "model.safetensors").unlink()
    for name in (".metadata", "__0_0.distcp"):
        (folder / name).write_bytes(b"x")


REMEDIES = {
    "a Git LFS pointer": (_pointer, "run `git lfs pull`"),
    "the folder above a checkpoint": (_above, "give …/checkpoint-500"),
    "a ZeRO checkpoint": (_zero, "python -m deepspeed.utils.zero_to_fp32 . pytorch_model.bin"),
    "a distributed checkpoint": (_distributed, "dcp_to_torch suspect model.pt"),
}


@pytest.mark.parametrize("name", REMEDIES)
def test_the_case_page_names_what_is_there_instead_of_weights_and_stays_usable(open_page, models, tmp_path, name):
    change, said = REMEDIES[name]
    folder = tmp_path / "suspect"
    shutil.copytree(models.suspect, folder)
    change(folder)
    app = open_page(params={"base": str(models.base), "suspect": str(folder)})
    assert not app.exception
    assert said in texts(app)
    app.text_input[1].set_value(str(models.suspect))
    app.button[0].click().run()
    assert titles(app)


def test_a_lightning_checkpoint_can_be_uploaded(open_page, models):
    tensors = load_file(models.suspect / "model.safetensors")
    buffer = BytesIO()
    projector = {f"model.{n}": t for n, t in tensors.items() if "projector" in n}
    torch.save({"epoch": 1, "state_dict": projector, "hyper_parameters": {}}, buffer)
    app = open_page(params={"base": str(models.base), "suspect": str(models.base)})
    app.file_uploader(key="upload-suspect").set_value([("last.ckpt", buffer.getvalue(), "")])
    app.button[0].click().run()
    assert not app.exception
    assert "Singular values of ΔW₂" in titles(app)


def test_a_png_with_a_large_profile_is_taken_by_the_activation_page(open_page):
    buffer = BytesIO()
    pico.images(1, seed=100)[0].save(buffer, "PNG")
    body = b"x\0\0" + zlib.compress(os.urandom(3 * 2**20))
    chunk = struct.pack(">I", len(body)) + b"iCCP" + body + struct.pack(">I", zlib.crc32(b"iCCP" + body))
    data = buffer.getvalue()
    app = open_page("activation")
    app.file_uploader[0].set_value([("mine.png", data[:33] + chunk + data[33:], "image/png")]).run()
    assert not app.exception
    assert "damaged" not in texts(app)
