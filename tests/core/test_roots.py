"""Where roots are named, no name leads out of them, and a refusal does not tell what lies elsewhere."""

import os

import pytest

from projlens_core.errors import InvalidInput, NotFound
from projlens_core.runtime.paths import uploads_dir
from projlens_core.runtime.roots import ROOTS
from projlens_core.sources import resolve
from projlens_core.weights import upload
from projlens_core.weights.opening import open_checkpoint
from tests import pico


@pytest.fixture
def outside(tmp_path):
    """A checkpoint that no root holds."""
    return pico.checkpoint(tmp_path / "outside")


@pytest.fixture
def root(tmp_path, outside, monkeypatch):
    """The one root, and in it a checkpoint."""
    folder = tmp_path / "models"
    pico.suspect(outside, folder / "inside")
    monkeypatch.setenv(ROOTS, str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def refusal(name) -> str:
    with pytest.raises(InvalidInput) as refused:
        resolve(name)
    return str(refused.value).replace(str(name), "NAME")


def test_without_roots_any_path_is_opened(outside, monkeypatch):
    monkeypatch.delenv(ROOTS, raising=False)
    assert resolve(outside).weights == outside


def test_what_lies_in_a_root_is_opened_however_it_is_named(root):
    for name in (root / "inside", "models/inside", root / ".." / "models" / "inside", f"{root / 'inside'}#llava"):
        assert os.path.samefile(resolve(name).weights, root / "inside")
    assert resolve(root / "inside" / "config.json").model == root / "inside"
    (root / "alias").symlink_to("inside")
    assert resolve(root / "alias").model == root / "alias"


def test_several_roots_are_separated_as_in_path(root, outside, monkeypatch):
    monkeypatch.setenv(ROOTS, os.pathsep.join([str(root), str(outside)]))
    assert resolve(outside).weights == outside
    assert f"{root} or {outside}" in refusal(f"{outside}-too")


def test_what_lies_elsewhere_is_refused_in_the_same_words_whether_it_is_there(root, outside, tmp_path):
    there, not_there = refusal(outside), refusal(tmp_path / "nothing")
    assert there == not_there
    assert str(root) in there
    assert ROOTS in there
    for name in (
        "outside",
        root / ".." / "outside",
        f"{root}/inside/../../outside#llava",
        f"{outside}#llava",
        f"{root}-too",
        "/",
        "~",
        "~root",
        "/etc/passwd",
        "/proc/self/environ",
    ):
        assert "does not lie in" in refusal(name)


def test_a_link_that_leads_out_is_refused_whether_something_is_at_its_end(root, outside):
    (root / "there").symlink_to(outside)
    (root / "nowhere").symlink_to(outside.parent / "nothing")
    assert refusal(root / "there") == refusal(root / "nowhere")
    assert "does not lie in" in refusal(root / "there" / "config.json")


def test_a_link_in_a_checkpoint_does_not_lead_out_either(root, outside):
    """Libraries that read the tokenizer and the image processor follow links by themselves."""
    (root / "inside" / "tokenizer_config.json").unlink(missing_ok=True)
    (root / "inside" / "tokenizer_config.json").symlink_to("/etc/passwd")
    assert "does not lie in" in refusal(root / "inside")


def test_not_even_the_links_of_a_hugging_face_cache_lead_out(root, outside, monkeypatch):
    """There snapshots/REVISION/FILE is a link to ../../blobs/HASH, which may lie above the root."""
    repository = root.parent / "repository"
    (repository / "blobs").mkdir(parents=True)
    snapshot = repository / "snapshots" / "main"
    snapshot.mkdir(parents=True)
    (outside / "model.safetensors").rename(repository / "blobs" / "hash")
    (snapshot / "model.safetensors").symlink_to("../../blobs/hash")
    monkeypatch.setenv(ROOTS, str(repository))
    assert open_checkpoint(snapshot).names
    monkeypatch.setenv(ROOTS, str(snapshot))
    with pytest.raises(InvalidInput, match="does not lie in"):
        open_checkpoint(snapshot)


def test_where_no_root_is_named_no_path_is_opened_and_the_sentence_says_how_to_allow_them(root, monkeypatch):
    monkeypatch.setenv(ROOTS, "")
    assert f"{ROOTS}=FOLDER" in refusal(root / "inside")
    assert refusal(root / "inside") == refusal("/nothing")


def test_names_that_are_no_paths_are_not_affected(root):
    assert open_checkpoint("zoo:base").names
    assert resolve("hub:owner/model").hub is not None


def test_an_upload_is_opened_though_the_cache_is_no_root(root, tmp_path, monkeypatch):
    monkeypatch.setenv("PROJLENS_CACHE", str(tmp_path / "cache"))
    files = [(name, (root / "inside" / name).read_bytes()) for name in ("model.safetensors", "config.json")]
    for sent in (files, files[:1]):
        name = upload.store(sent)
        assert open_checkpoint(name).names
        folder = uploads_dir() / name.removeprefix("upload:")
        assert "does not lie in" in refusal(folder)


@pytest.mark.parametrize("name", ["a" * 5_000, "a\0b", "~nobody-of-this-name/x", "a" * 300 + "/b"])
@pytest.mark.parametrize("confined", [True, False])
def test_a_name_that_no_file_can_have_is_one_sentence(name, confined, root, monkeypatch):
    if not confined:
        monkeypatch.delenv(ROOTS)
    with pytest.raises((NotFound, InvalidInput)) as refused:
        resolve(name)
    assert len(str(refused.value)) < 600
