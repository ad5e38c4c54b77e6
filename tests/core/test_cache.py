"""The disk cache: what was written comes back, from any process, or nothing does."""

import contextlib
import pickle
import sqlite3
from pathlib import Path

import diskcache
import pytest

from projlens_core.runtime import cache, versions

DATA = bytes(range(256)) * 10


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PROJLENS_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "cache"
    cache._version.cache_clear()


def database(folder):
    return sqlite3.connect(folder / "tokens" / "cache.db", isolation_level=None)


def test_what_was_stored_comes_back_under_its_key_alone():
    assert cache.stored("tokens", "a") is None
    cache.store("tokens", "a", DATA)
    assert cache.stored("tokens", "a") == DATA
    assert cache.stored("tokens", "b") is None
    assert cache.stored("scores", "a") is None


def test_what_is_stored_again_takes_the_place_of_the_first():
    cache.store("tokens", "a", b"one")
    cache.store("tokens", "a", b"two")
    assert cache.stored("tokens", "a") == b"two"


def test_an_entry_with_any_byte_changed_is_not_served(folder):
    cache.store("tokens", "a", b"some data")
    with contextlib.closing(database(folder)) as tables:
        ((whole,),) = tables.execute("SELECT value FROM Cache").fetchall()
        for place in range(len(whole)):
            turned = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
            for damaged in (turned, whole[:place]):
                tables.execute("UPDATE Cache SET value = ?", (damaged,))
                assert cache.stored("tokens", "a") is None
    cache.store("tokens", "a", b"some data")
    assert cache.stored("tokens", "a") == b"some data"


def test_a_large_entry_whose_file_was_damaged_or_lost_is_not_served(folder):
    large = DATA * 100
    for spoil in (lambda file: file.write_bytes(file.read_bytes()[:-1]), Path.unlink):
        cache.store("tokens", "a", large)
        assert cache.stored("tokens", "a") == large
        (file,) = folder.glob("tokens/*/*/*.val")
        spoil(file)
        assert cache.stored("tokens", "a") is None


def test_an_entry_in_the_place_of_another_is_not_served(folder):
    cache.store("tokens", "a", b"of a")
    cache.store("tokens", "b", b"of b")
    with contextlib.closing(database(folder)) as tables:
        tables.execute("UPDATE Cache SET value = (SELECT value FROM Cache WHERE rowid = 1)")
    assert sorted([cache.stored("tokens", key) or b"" for key in "ab"]) == [b"", b"of a"]


def test_a_pickle_that_somebody_put_into_the_database_is_not_unpickled(folder, tmp_path):
    cache.store("tokens", "a", b"of a")
    with contextlib.closing(database(folder)) as tables:
        tables.execute(
            "UPDATE Cache SET mode = ?, value = ?",
            (diskcache.core.MODE_PICKLE, pickle.dumps(Touches(str(tmp_path / "ran")))),
        )
    assert cache.stored("tokens", "a") is None
    assert not (tmp_path / "ran").exists()


class Touches:
    """Unpickled, it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize("damage", [b"not a database" * 1000, b""])
def test_a_damaged_database_is_begun_anew(folder, damage):
    cache.store("tokens", "a", DATA)
    cache._open.popitem()[1].close()  # as another process, started later, would find it
    (folder / "tokens" / "cache.db").write_bytes(damage)
    for adjacent in folder.glob("tokens/cache.db-*"):
        adjacent.unlink()
    assert cache.stored("tokens", "a") is None
    cache.store("tokens", "a", DATA)
    assert cache.stored("tokens", "a") == DATA
    assert cache.trouble() is None


@pytest.mark.parametrize("what", [*versions.PACKAGES, "python", "projlens"])
def test_what_another_version_stored_is_not_served_and_not_lost(monkeypatch, what):
    cache.store("tokens", "a", DATA)
    with monkeypatch.context() as patch:
        if what == "projlens":  # its own sources, so that a change between two releases counts as well
            patch.setattr(versions, "sources", lambda *parts: "another")
        else:
            others = versions.installed() | {what: "0"}
            patch.setattr(versions, "installed", lambda: others)
        cache._version.cache_clear()
        assert cache.stored("tokens", "a") is None
        cache.store("tokens", "a", b"of another version")
    cache._version.cache_clear()
    assert cache.stored("tokens", "a") == DATA


def test_a_version_is_told_by_the_sources_that_decide_numbers():
    whole, computing = versions.sources(), versions.sources(*versions.COMPUTING)
    assert whole != computing
    assert computing != versions.sources("weights")
    assert computing == versions.sources(*versions.COMPUTING)


def test_what_was_stored_longest_ago_goes_first(folder, monkeypatch):
    large = DATA * 100
    monkeypatch.setattr(cache, "SIZE_LIMIT", 30 * len(large))
    keys = [f"{i:02d}" for i in range(40)]
    for key in keys:
        cache.store("tokens", key, large)
    kept = [key for key in keys if cache.stored("tokens", key) is not None]
    assert kept == keys[-len(kept) :]
    assert 10 <= len(kept) <= 30
    assert cache.trouble() is None


def test_a_folder_that_cannot_be_had_costs_time_and_says_so(folder):
    folder.write_bytes(b"not a folder")
    cache.store("tokens", "a", DATA)
    assert cache.stored("tokens", "a") is None
    assert cache.trouble().startswith("Results cannot be kept in ")
