"""A whole model on the Hub: what describes it, its tower and its head are fetched, and nothing else of it."""

import os

import pytest
import torch

from projlens_core.activations import around
from projlens_core.activations.around import described
from projlens_core.activations.head import read_head
from projlens_core.activations.model import load_vision
from projlens_core.activations.vocabulary import read_vocabulary
from projlens_core.behaviour.respond import load_responder
from projlens_core.errors import InvalidInput
from projlens_core.sources import resolve
from projlens_core.weights.opening import open_checkpoint
from tests import pico
from tests.hub import serving

MODEL = "hub:owner/model"

pytestmark = pytest.mark.usefixtures("own_folder")  # every test with a cache of this module's own


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = pico.checkpoint(tmp_path_factory.mktemp("around") / "base", max_shard_size="200KB")
    (folder / "modeling_evil.py").write_text("raise SystemExit('ran')")
    return folder


@pytest.fixture
def hub(base, monkeypatch, tmp_path):
    monkeypatch.setenv("PROJLENS_CACHE", str(tmp_path / "cache"))
    with serving(base) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        yield server


def test_the_tower_is_that_of_the_files_and_no_layer_of_the_language_model_is_fetched(base, hub):
    here, there = load_vision(str(base)), load_vision(MODEL)
    assert there.key == here.key
    checkpoint = open_checkpoint(base)
    unread = sum(checkpoint.info(name).nbytes for name in checkpoint.names if "language_model" in name)
    assert hub.sent < sum(file.stat().st_size for file in base.iterdir()) - unread
    assert not any(name.endswith(".py") for name, *_ in hub.seen)


def test_the_head_is_read_by_its_bytes_and_says_how_many(base, hub):
    here, there = read_head(base), read_head(MODEL)
    assert torch.equal(there.unembedding, here.unembedding)
    assert torch.equal(there.gain, here.gain)
    size = sum(t.nbytes for t in (here.embedding, *([] if here.tied else [here.unembedding]))) + 4 * here.width
    assert any(f"{size:,} bytes were fetched from the Hub" in note for note in there.notes)
    assert read_vocabulary(MODEL, there.vocabulary).shown([40, 41]) == read_vocabulary(base, 99).shown([40, 41])


def test_what_describes_a_model_is_fetched_once(hub):
    around.around(resolve(MODEL))
    before = hub.sent
    again = around.around(resolve(MODEL))
    assert hub.sent == before
    assert not list(again.model.glob("*.py"))
    assert not list(again.model.glob("*.safetensors"))


def test_what_was_used_longest_ago_makes_room(hub, monkeypatch):
    here = around.around(resolve(MODEL)).model
    old, older = (here.parent / name for name in ("old", "older"))
    for age, folder in enumerate((old, older), 1):
        folder.mkdir()
        (folder / "config.json").write_bytes(b" " * 1000)
        os.utime(folder, (1000 - age, 1000 - age))
    size = sum(file.stat().st_size for file in here.iterdir())
    (here / "config.json").unlink()
    monkeypatch.setattr(around, "MAX_KEPT", size + 1000)
    assert around.around(resolve(MODEL)).model == here
    assert {folder.name for folder in here.parent.iterdir()} == {here.name, "old"}
    (here / "config.json").unlink()
    monkeypatch.setattr(around, "MAX_KEPT", 1)
    around.around(resolve(MODEL))
    assert (here / "config.json").is_file()
    assert list(here.parent.iterdir()) == [here]


def test_more_than_is_fetched_at_once_is_refused(hub, monkeypatch):
    monkeypatch.setattr(around, "MAX_FETCHED", 1000)
    with pytest.raises(InvalidInput, match=r"output head of owner/model has [\d,]+ bytes, more than are fetched"):
        read_head(MODEL)
    with pytest.raises(InvalidInput, match="vision tower of owner/model has"):
        load_vision(MODEL)


def test_a_description_beyond_all_use_is_refused(hub, monkeypatch):
    monkeypatch.setattr(around, "MAX_DESCRIBING", 10)
    with pytest.raises(InvalidInput, match=r"config.json has [\d,]+ bytes, expected up to 10"):
        around.around(resolve(MODEL))


def test_a_model_on_the_hub_is_not_asked(hub):
    with pytest.raises(InvalidInput, match="lies on the Hub, of which only parts are read"):
        load_responder(MODEL)


def test_a_model_that_lies_here_is_taken_before_one_on_the_hub(base, tmp_path):
    there, here = resolve(MODEL), resolve(str(base))
    (tmp_path / "p.safetensors").touch()
    lone = resolve(str(tmp_path / "p.safetensors"))
    file = resolve(f"{MODEL}:mm_projector.bin")
    assert described([there, here]) == here
    assert described([lone, there]) == there
    assert described([lone, file]) is None
