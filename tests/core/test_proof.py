"""What lies outside the projector: each kind of difference is found, and nothing is called the same unread."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from projlens_core.weights.proof import CHANGED, NOT_COMPARED, SAME, prove
from tests import pico


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return pico.checkpoint(tmp_path_factory.mktemp("proof") / "base")


@pytest.fixture
def suspect(base, tmp_path):
    folder = tmp_path / "suspect"
    shutil.copytree(base, folder)
    return folder


def edit(folder, change):
    file = folder / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def named(tensors, part):
    return next(name for name in tensors if part in name)


def found(proof, part):
    return next(f for f in proof.findings if part in f.name)


def test_a_copy_is_the_same_in_every_tensor_and_file(base, suspect):
    proof = prove(base, suspect)
    assert {f.status for f in proof.findings} == {SAME}
    assert {"vision tower", "embeddings", "language model", "files"} <= proof.counts.keys()
    assert {"tokenizer.json", "config.json"} <= {f.name for f in proof.findings}
    assert not any("multi_modal_projector" in f.name for f in proof.findings)
    size = (base / "model.safetensors").stat().st_size
    projector = sum(t.nbytes for n, t in load_file(base / "model.safetensors").items() if "projector" in n)
    assert proof.bytes_read <= 2 * size
    assert proof.bytes_read > 1.9 * (size - projector)


def test_one_changed_number_anywhere_is_found_with_its_size(base, suspect):
    def change(tensors):
        tensors[named(tensors, "layers.1.self_attn.q_proj.weight")][3, 4] += 1.0

    edit(suspect, change)
    proof = prove(base, suspect)
    (only,) = proof.of(CHANGED)
    assert only.part == "vision tower" or "q_proj" in only.name
    assert only.reason.startswith("‖Δ‖/‖base‖ ")
    assert not proof.of(NOT_COMPARED)


def test_another_precision_is_the_same_only_if_it_is_rounding(base, suspect):
    def halve(tensors):
        for name in tensors:
            tensors[name] = tensors[name].to(torch.bfloat16)
        tensors[named(tensors, "norm.weight")] += 0.5

    edit(suspect, halve)
    proof = prove(base, suspect)
    (only,) = proof.of(CHANGED)
    assert "norm" in only.name
    assert found(proof, "embed_tokens").reason == "rounded to bfloat16"


def test_another_key_layout_is_the_same_model(base, tmp_path):
    new = pico.checkpoint(tmp_path / "new", old_keys=False)
    proof = prove(base, new)
    assert not proof.of(CHANGED)
    assert not [f for f in proof.of(NOT_COMPARED) if f.part != "files"]


def test_tensors_of_one_side_only_and_other_shapes_are_said(base, suspect):
    def change(tensors):
        tensors["model.extra.weight"] = torch.ones(2)
        name = named(tensors, "embed_tokens")
        tensors[name] = torch.cat([tensors[name], tensors[name][:1]])
        del tensors[named(tensors, "post_layernorm.weight")]

    edit(suspect, change)
    proof = prove(base, suspect)
    assert found(proof, "extra").reason == "only the suspect has it"
    assert found(proof, "post_layernorm.weight").reason == "only the base has it"
    assert found(proof, "embed_tokens").status == CHANGED
    assert "became" in found(proof, "embed_tokens").reason


def test_files_are_compared_by_hash_and_json_by_entry(base, suspect):
    config = json.loads((suspect / "config.json").read_text())
    (suspect / "config.json").write_text(json.dumps(config))  # without indentation
    tokenizer = json.loads((suspect / "tokenizer_config.json").read_text())
    (suspect / "tokenizer_config.json").write_text(json.dumps(tokenizer | {"eos_token": "x"}))
    (suspect / "chat_template.jinja").write_text("{{ 1 }}")
    (suspect / "vocab.txt").write_text("x")
    proof = prove(base, suspect)
    assert found(proof, "config.json").reason == "the same entries, written differently"
    assert found(proof, "tokenizer_config").reason == "differs in 'eos_token'"
    assert found(proof, "chat_template").status == CHANGED
    assert found(proof, "vocab.txt").reason == "only the suspect has it"


def test_a_lone_projector_leaves_everything_uncompared_and_says_so(base, tmp_path):
    alone = pico.projector_file(base, tmp_path / "projector.safetensors")
    proof = prove(base, alone)
    assert {f.status for f in proof.findings} == {NOT_COMPARED}
    assert proof.findings[-1].reason == "the suspect has none"


def test_an_unreadable_file_is_a_finding_not_an_error(base, suspect, tmp_path):
    (tmp_path / "outside.json").write_text("{}")
    (suspect / "tokenizer.json").unlink()
    (suspect / "tokenizer.json").symlink_to(tmp_path / "outside.json")
    assert "link that leaves" in found(prove(base, suspect), "tokenizer.json").reason
