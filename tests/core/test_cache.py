"""The disk cache: what was written comes back, from any process, or nothing does."""

import os
import shutil

import pytest

from projlens_core import cache, versions

DATA = bytes(range(256)) * 10


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PROJLENS_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "cache"
    cache._version.cache_clear()


def entries(folder):
    return sorted(folder.glob("*/*/*"))


def test_what_was_stored_comes_back_under_its_key_alone():
    assert cache.stored("tokens", "a") is None
    cache.store("tokens", "a", DATA)
    assert cache.stored("tokens", "a") == DATA
    assert cache.stored("tokens", "b") is None
    assert cache.stored("scores", "a") is None


def test_what_is_stored_again_takes_the_place_of_the_first(folder):
    cache.store("tokens", "a", b"one")
    cache.store("tokens", "a", b"two")
    assert cache.stored("tokens", "a") == b"two"
    assert len(entries(folder)) == 1


def test_an_entry_with_any_bit_turned_is_not_served(folder):
    cache.store("tokens", "a", b"some data")
    (entry,) = entries(folder)
    whole = entry.read_bytes()
    for place in range(len(whole)):
        entry.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert cache.stored("tokens", "a") is None
    for length in range(len(whole)):
        entry.write_bytes(whole[:length])
        assert cache.stored("tokens", "a") is None
    cache.store("tokens", "a", b"some data")
    assert cache.stored("tokens", "a") == b"some data"


def test_an_entry_in_the_place_of_another_is_not_served(folder):
    cache.store("tokens", "a", b"of a")
    (first,) = entries(folder)
    cache.store("tokens", "b", b"of b")
    (second,) = set(entries(folder)) - {first}
    shutil.copyfile(first, second)
    assert cache.stored("tokens", "b") is None
    assert cache.stored("tokens", "a") == b"of a"


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


def test_what_was_stored_longest_ago_goes_first_and_leftovers_of_killed_processes_with_it(folder, monkeypatch):
    monkeypatch.setattr(cache, "TRIM_EVERY", 1)  # at every store
    monkeypatch.setattr(cache, "SIZE_LIMIT", 3 * (len(DATA) + cache._DIGEST))
    leftover = folder / "tokens" / "00" / f"{cache.PARTIAL}x"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(DATA)
    os.utime(leftover, (1, 1))
    for age, key in enumerate("abcd", start=2):
        cache.store("tokens", key, DATA)
        newest = max(entries(folder), key=lambda path: path.stat().st_mtime_ns)
        os.utime(newest, (age, age))  # clocks of file systems are too coarse to order these
    assert [cache.stored("tokens", key) is not None for key in "abcd"] == [False, True, True, True]
    assert not leftover.exists()
    assert cache.trouble() is None


def test_an_entry_larger_than_the_cache_is_kept_until_the_next(folder, monkeypatch):
    monkeypatch.setattr(cache, "TRIM_EVERY", 1)
    monkeypatch.setattr(cache, "SIZE_LIMIT", 1)
    cache.store("tokens", "a", DATA)
    assert cache.stored("tokens", "a") == DATA
    cache.store("tokens", "b", DATA)
    assert cache.stored("tokens", "a") is None
    assert len(entries(folder)) == 1
