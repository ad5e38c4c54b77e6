import os

import pytest

from projlens_core.errors import InvalidInput
from projlens_core.weights import upload


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PROJLENS_CACHE", str(tmp_path))
    return tmp_path


def test_one_file_is_a_file_and_several_are_a_folder():
    alone = upload.store([("mm_projector.bin", b"x")])
    assert alone.read_bytes() == b"x"
    together = upload.store([("model.safetensors", b"x"), ("config.json", b"{}")])
    assert sorted(path.name for path in together.iterdir()) == ["config.json", "model.safetensors"]


def test_the_same_content_is_the_same_path_and_other_content_another():
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


def test_too_many_bytes_and_the_same_name_twice_are_refused(monkeypatch):
    monkeypatch.setattr(upload, "MAX_FILE", 10)
    with pytest.raises(InvalidInput, match="has 11 bytes, more than the 10"):
        upload.store([("a.bin", b"x" * 11)])
    with pytest.raises(InvalidInput, match="each name once"):
        upload.store([("a.bin", b"x"), ("a.bin", b"y")])


def test_the_oldest_uploads_give_way(monkeypatch):
    monkeypatch.setattr(upload, "MAX_KEPT", 25)
    paths = [upload.store([("a.bin", bytes([i]) * 10)]) for i in range(2)]
    for age, path in zip((200, 100), paths, strict=True):
        os.utime(path.parent, (1e9 - age, 1e9 - age))
    newest = upload.store([("a.bin", b"z" * 10)])
    assert [path.exists() for path in (*paths, newest)] == [False, True, True]
