"""Nothing that a checkpoint names is followed: what libraries read by path is a copy made of known files and keys."""

import json
import os
import sys
from pathlib import Path

import pytest

from projlens_core.activations.staging import TEXT, StagedFolder, staged_weights
from projlens_core.cli import main
from projlens_core.errors import InvalidInput
from projlens_core.runtime.roots import ROOTS
from projlens_core.weights.opening import open_checkpoint
from tests import hostile_models, pico

pytestmark = pytest.mark.usefixtures("own_folder")


class NobodyThere:
    """A standard input that nobody may read."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"standard input: {name}")


@pytest.fixture(autouse=True)
def _no_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", NobodyThere())


@pytest.fixture
def folder(tmp_path):
    pico.images(1)[0].save(tmp_path / "image.png")
    return pico.checkpoint(tmp_path / "model")


def asked(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit code, answer and error of the command about this checkpoint."""
    image = folder.parent / "image.png"
    code = main(["respond", "--base", str(folder), "--image", str(image), "--prompt", "What is it?", "--json"])
    out, err = capsys.readouterr()
    return code, out and json.loads(out)["answers"]["base"]["clean"], err


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What the checkpoint answers before anything is changed: as transformers alone gives it."""
    from tests.core.test_respond import whole_model_answers

    folder = pico.checkpoint(tmp_path_factory.mktemp("plain") / "model")
    return whole_model_answers(folder, pico.images(1), ["What is it?"])[0]


@pytest.mark.parametrize("what", hostile_models.RUNS)
def test_what_a_checkpoint_names_beside_itself_is_not_followed(what, folder, capsys, said):
    hostile_models.RUNS[what](folder)
    assert asked(folder, capsys) == (0, said, "")
    assert not list(folder.rglob("ran"))


@pytest.mark.parametrize("what", hostile_models.REFUSED)
def test_what_is_no_regular_bounded_file_of_the_folder_is_one_sentence(what, folder, capsys):
    change, wanted = hostile_models.REFUSED[what]
    change(folder)
    code, answer, err = asked(folder, capsys)
    assert (code, answer) == (1, "")
    assert wanted in err
    assert len(err.splitlines()) == 1


def test_which_folders_exist_is_not_disclosed(folder, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv(ROOTS, str(tmp_path))
    answers = []
    for path in ("/etc", "/nowhere"):
        given = {"audio_tokenizer_class": "AutoModel", "audio_tokenizer_name_or_path": path}
        hostile_models.entries("processor_config.json", audio_tokenizer=given)(folder)
        answers.append(asked(folder, capsys))
    assert answers[0] == answers[1]
    assert answers[0][0] == 0


def test_the_lens_reads_its_tokenizer_the_same_way(folder, capsys, tmp_path):
    hostile_models.linked("tokenizer.json")(folder)
    (tmp_path / "images").mkdir()
    pico.images(2)[0].save(tmp_path / "images" / "0.png")
    suspect = pico.suspect(pico.checkpoint(tmp_path / "plain"), tmp_path / "suspect").folder
    models = ["--base", str(folder), "--suspect", str(suspect), "--images", str(tmp_path / "images")]
    assert main(["lens", *models]) == 1
    err = capsys.readouterr().err
    assert "tokenizer.json is a link that leaves" in err
    assert len(err.splitlines()) == 1


def test_a_stage_has_regular_files_alone_and_is_gone_when_closed(folder):
    (folder / "evil.py").write_text("")
    with StagedFolder(folder, "it", TEXT) as stage:
        names = sorted(path.name for path in stage.path.iterdir())
        assert "evil.py" not in names
        assert {"tokenizer.json", "tokenizer_config.json", "config.json", "chat_template.jinja"} <= set(names)
        assert not any(path.is_symlink() for path in stage.path.rglob("*"))
        assert (stage.path / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()
    assert not stage.path.exists()


def test_a_stages_key_is_its_contents(folder):
    with StagedFolder(folder, "it", TEXT) as first, StagedFolder(folder, "another", TEXT) as again:
        assert first.key == again.key
        hostile_models.entries("tokenizer_config.json", name_or_path="/etc")(folder)
        with StagedFolder(folder, "it", TEXT) as third:
            assert third.key == first.key  # what is not taken does not count
        hostile_models.entries("tokenizer_config.json", padding_side="right")(folder)
        with StagedFolder(folder, "it", TEXT) as other:
            assert other.key != first.key


def test_sharded_weights_are_linked_to_files_that_are_open(tmp_path):
    folder = pico.checkpoint(tmp_path / "model", max_shard_size="100KB")
    checkpoint = open_checkpoint(folder)
    with staged_weights(checkpoint, folder, "it") as staged:
        index = json.loads((staged / "model.safetensors.index.json").read_text())
        assert set(index["weight_map"]) == set(checkpoint.names)
        for name, shard in index["weight_map"].items():
            assert os.path.samefile(staged / shard, folder / checkpoint.info(name).file.name)
        shards = {os.readlink(staged / shard) for shard in index["weight_map"].values()}
    assert all(not os.path.exists(shard) for shard in shards)


def test_weights_that_changed_after_their_header_was_read_are_refused(folder, capsys):
    checkpoint = open_checkpoint(folder)
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "model.safetensors")
    with (
        pytest.raises(InvalidInput, match="changed while it was read"),
        staged_weights(checkpoint, folder, "it"),
    ):
        pass
