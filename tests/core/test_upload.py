import os

import pytest

from projlens_core.errors import InvalidInput, NotFound
from projlens_core.sources import resolve
from projlens_core.weights import upload


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PROJLENS_CACHE", str(tmp_path))
    return tmp_path


def test_one_file_is_a_file_and_several_are_a_folder():
    alone = resolve(upload.store([("mm_projector.bin", b"x")]))
    assert alone.weights.read_bytes() == b"x"
    assert alone.model is None
    together = resolve(upload.store([("model.safetensors", b"x"), ("config.json", b"{}")]) + "#llava")
    assert sorted(path.name for path in together.weights.iterdir()) == ["config.json", "model.safetensors"]
    assert together.model == together.weights
    assert together.family == "llava"


def test_the_name_says_nothing_of_the_machine_and_leads_nowhere_else(cache):
    (cache / "secret.json").write_text("{}")
    name = upload.store([("a.bin", b"x")])
    assert str(cache) not in name
    folder = name.removesuffix("/a.bin")
    for odd in ("upload:", "upload:..", f"{folder}/../../secret.json", f"{folder}/..", f"upload:{'0' * 16}"):
        with pytest.raises(NotFound):
            resolve(odd)


def test_the_same_content_is_the_same_name_and_other_content_another():
    first = upload.store([("a.bin", b"x")])
    assert upload.store([("a.bin", b"x")]) == first
    assert upload.store([("a.bin", b"y")]) != first
    assert upload.store([("b.bin", b"x")]) != first


@pytest.mark.parametrize(
    "name", ["../a.bin", "/a.bin", "a/b.bin", "..\\a.bin", ".a.bin", "a\n.bin", "a.py", "", "a.bin\0"]
)
def test_names_that_lead_elsewhere_or_are_no_weights_are_refused(name, cache):
    with pytest.raises(InvalidInput, match="is no weight file or config"):
        upload.store([(name, b"x")])
    assert not list(cache.rglob("*.*"))


def test_too_much_too_many_and_the_same_name_twice_are_refused(monkeypatch):
    monkeypatch.setattr(upload, "MAX_BYTES", 10)
    with pytest.raises(InvalidInput, match="has 11 bytes, more than the 10"):
        upload.store([("a.bin", b"x" * 5), ("b.bin", b"x" * 6)])
    with pytest.raises(InvalidInput, match="at most 64"):
        upload.store([(f"{i}.json", b"") for i in range(65)])
    with pytest.raises(InvalidInput, match="each name once"):
        upload.store([("a.bin", b"x"), ("a.bin", b"y")])


def test_the_oldest_uploads_give_way(monkeypatch):
    monkeypatch.setattr(upload, "MAX_KEPT", 25)
    paths = [resolve(upload.store([("a.bin", bytes([i]) * 10)])).weights for i in range(2)]
    for age, path in zip((200, 100), paths, strict=True):
        os.utime(path.parent, (1e9 - age, 1e9 - age))
    newest = resolve(upload.store([("a.bin", b"z" * 10)])).weights
    assert [path.exists() for path in (*paths, newest)] == [False, True, True]


def test_an_upload_that_the_disk_does_not_take_leaves_nothing(cache, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(InvalidInput, match="cannot be kept"):
        upload.store([("a.bin", b"x")])
    assert not list((cache / "uploads").iterdir())
