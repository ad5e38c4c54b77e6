"""A model on the Hub: only headers and the projector's bytes travel, and each fault is one clear sentence."""

import shutil

import pytest
import torch
from safetensors.torch import load_file

from projlens_core.cases.case import read_projectors
from projlens_core.errors import InvalidInput, NotFound
from projlens_core.sources import resolve
from projlens_core.weights.opening import open_checkpoint
from projlens_core.weights.projector import read_projector
from projlens_core.weights.proof import SAME, prove
from tests import pico
from tests.hub import COMMIT, serving

MODEL = "hub:owner/model"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return pico.checkpoint(tmp_path_factory.mktemp("hub") / "base", max_shard_size="200KB")


@pytest.fixture
def hub(base, monkeypatch):
    with serving(base) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        yield server


def test_only_headers_and_the_projector_are_fetched(base, hub):
    here = read_projector(base)
    there = read_projector(MODEL)
    assert there.sha256 == here.sha256
    assert there.family.name == "llava"
    config_and_index = sum((base / name).stat().st_size for name in ("config.json", "model.safetensors.index.json"))
    assert hub.sent == here.bytes_read + config_and_index
    assert there.bytes_read == here.bytes_read
    assert all(asked.startswith("bytes=") for _, asked, _ in hub.seen)


def test_a_token_does_not_follow_a_redirect_to_another_host(hub):
    read_projector(MODEL)
    assert {token for *_, token in hub.seen} == {None}


def test_the_owner_s_token_is_not_lent_to_those_who_reach_a_server(hub, monkeypatch):
    read_projector(MODEL)
    assert "Bearer hf_secret" in hub.tokens
    hub.tokens.clear()
    monkeypatch.setenv("PROJLENS_ROOTS", "")
    read_projector(MODEL)
    assert hub.tokens == {None}


def test_a_revision_and_a_single_file_can_be_named(base, hub, tmp_path):
    folder = tmp_path / "repository"
    torch.save({"x": torch.arange(5.0)}, base / "mm_projector.bin")
    checkpoint = open_checkpoint(f"{MODEL}@refs/pr/1:mm_projector.bin")
    assert checkpoint.read("x").tolist() == [0, 1, 2, 3, 4]
    assert not folder.exists()
    (base / "mm_projector.bin").unlink()


def test_an_adapter_on_the_hub_lies_on_the_case_s_base(base, tmp_path, monkeypatch):
    from tests.core.test_forms import factors, lora

    lora(tmp_path / "adapter", factors())
    with serving(tmp_path / "adapter") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        ours, theirs = read_projectors([str(base), MODEL])
    assert not torch.equal(ours.tensors["linear_2.weight"], theirs.tensors["linear_2.weight"])


def test_the_rest_is_proved_by_the_digests_the_hub_states(hub):
    proof = prove(MODEL, MODEL)
    assert {finding.status for finding in proof.findings} == {SAME}
    assert {finding.reason for finding in proof.findings} == {"in files of one SHA-256", "one SHA-256"}
    assert proof.bytes_read < 60_000  # headers


def test_a_connection_cut_half_way_is_taken_up_where_it_broke(base, hub):
    hub.cuts, hub.cut_after = 3, 1000
    assert read_projector(MODEL).sha256 == read_projector(base).sha256
    assert hub.cuts == 0


def test_a_connection_that_always_breaks_is_one_sentence(hub):
    hub.cuts, hub.cut_after = 10**6, 0
    with pytest.raises(InvalidInput, match=r"broke off after 0 of [\d,]+ bytes, 4 times over"):
        read_projector(MODEL)


def test_a_server_without_ranges_is_read_through_if_the_file_is_small(base, hub):
    hub.ranges = False
    assert read_projector(MODEL).sha256 == read_projector(base).sha256


def test_a_server_without_ranges_is_refused_if_that_means_a_download(hub, monkeypatch):
    monkeypatch.setattr("projlens_core.weights.hub._MAX_UNASKED", 1000)
    hub.ranges = False
    with pytest.raises(InvalidInput, match="sends whole files only"):
        read_projector(MODEL)


def test_another_range_than_asked_for_is_refused(hub):
    hub.wrong_range = True
    with pytest.raises(InvalidInput, match="expected those from"):
        read_projector(MODEL)


def test_an_error_of_the_server_is_one_sentence(hub):
    hub.status = 503
    with pytest.raises(InvalidInput, match="answered with status 503"):
        read_projector(MODEL)


def test_a_model_that_is_not_there_is_not_found(hub):
    hub.gone = True
    with pytest.raises(NotFound, match="has no model 'owner/model' with a revision 'main'"):
        read_projector(MODEL)


def test_a_server_that_cannot_be_reached_is_one_sentence(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InvalidInput, match="does not list the files of owner/model"):
        read_projector(MODEL)


def test_a_file_that_is_shorter_than_stated_is_refused(base, tmp_path, monkeypatch):
    folder = tmp_path / "cut"
    shutil.copytree(base, folder)
    with serving(folder) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        checkpoint = open_checkpoint(MODEL)
        for shard in folder.glob("*.safetensors"):
            shard.write_bytes(shard.read_bytes()[:-100])
        name = next(n for n in checkpoint.names if "linear_2.weight" in n)
        with pytest.raises(InvalidInput):
            checkpoint.read(name)


@pytest.mark.parametrize("spec", ["hub:model", "hub:a/b/c", "hub:owner/model@", "hub:owner/model:../x", "hub:o/m@a b"])
def test_what_is_no_name_on_the_hub_is_said(spec):
    with pytest.raises(InvalidInput, match="is no model on the Hub"):
        resolve(spec)


def test_the_commit_stands_in_the_folder_s_name(hub):
    assert COMMIT[:12] in open_checkpoint(MODEL).folder.label


def test_values_are_those_of_the_files(base, hub):
    checkpoint = open_checkpoint(MODEL)
    shard = next(base.glob("model-00001*.safetensors"))
    for name, tensor in load_file(shard).items():
        assert torch.equal(checkpoint.read(name), tensor)
        break
