"""Disks that are full, read-only or damaged, and folders that go away: said in one sentence, and never served wrong."""

import os
import random
import shutil
import tempfile
from pathlib import Path

import pytest

from projlens_core.runtime import cache as disk
from projlens_core.weights import upload
from tests import pico
from tests.faults import work
from tests.faults.children import child

REMEDY = "set $PROJLENS_CACHE to another folder."
DATA = b"some data" * 10_000


def test_a_full_disk_costs_the_cache_only_time_and_the_sentence_says_what_to_do(cache):
    disk.store("tokens", "finished", DATA)
    with child(cache, work.keep_on_a_small_disk, "new", DATA) as full:
        kept, trouble = full.result()
    assert kept is None
    assert trouble.startswith(f"Results cannot be kept in {cache} (")
    assert trouble.endswith(REMEDY)
    assert disk.stored("tokens", "finished") == DATA
    assert disk.stored("tokens", "new") is None
    disk.store("tokens", "new", DATA)
    assert disk.stored("tokens", "new") == DATA
    assert disk.trouble() is None


def test_a_full_disk_stops_the_conversion_with_a_sentence_and_leaves_nothing_half_made(cache, parts):
    with child(cache, work.convert_on_a_small_disk, str(parts), 20_000) as full:
        (outcome, sentence), _ = full.result()
    assert outcome == "NotFound"
    assert sentence.startswith(f"The demo language model could not be written to {cache / 'zoo'} (")
    assert sentence.endswith(REMEDY)
    assert "\n" not in sentence
    assert [path.suffix for path in (cache / "zoo").iterdir()] == [".lock"]


def test_a_full_disk_leaves_the_former_report_whole_and_says_so(cache, tmp_path):
    path = tmp_path / "report.html"
    path.write_bytes(b"the former")
    with child(cache, work.write_a_report_on_a_small_disk, str(path), DATA) as full:
        outcome, sentence = full.result()
    assert outcome == "InvalidInput"
    assert sentence == f"{path} cannot be written (File too large); choose another place."
    assert path.read_bytes() == b"the former"
    assert list(tmp_path.iterdir()) == [path]


def test_a_command_on_a_full_disk_ends_in_its_result_and_one_sentence(cache, models, tmp_path):
    images, said = tmp_path / "images", tmp_path / "said.txt"
    images.mkdir()
    pico.images(1)[0].save(images / "a.png")
    line = [
        "activations",
        "--base",
        str(models / "base"),
        "--suspect",
        str(models / "suspect"),
        "--images",
        str(images),
    ]
    with child(cache, work.command_on_a_small_disk, line, 20_000, str(said)) as full:
        assert full.result() == 0
    assert said.read_text().startswith(f"Results cannot be kept in {cache} (")
    assert said.read_text().count("\n") == 1


@pytest.fixture
def read_only():
    """A cache with one entry in it that everybody may read and nobody else write; outside of pytest's own folders,
    which are closed to other users."""
    folder = Path(tempfile.mkdtemp())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROJLENS_CACHE", str(folder / "cache"))
        disk.store("tokens", "old", DATA)
    folder.chmod(0o755)
    yield folder / "cache"
    shutil.rmtree(folder)


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="only root can become somebody else")
def test_a_read_only_cache_folder_costs_time_and_the_sentence_says_what_to_do(read_only):
    with child(read_only, work.keep_as_nobody, "old", "new") as nobody:
        old, new, trouble = nobody.result()
    assert old in (None, DATA)
    assert new is None
    assert trouble.startswith(f"Results cannot be kept in {read_only} (")
    assert trouble.endswith(REMEDY)


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="only root can become somebody else")
def test_a_read_only_cache_folder_stops_the_conversion_with_a_sentence(read_only, parts):
    open_to_all = read_only.parent / "parts"
    shutil.copytree(parts, open_to_all)
    for path in (open_to_all, *open_to_all.rglob("*")):
        path.chmod(0o755)
    with child(read_only, work.convert_as_nobody, str(open_to_all)) as nobody:
        (outcome, sentence), _ = nobody.result()
    assert outcome == "NotFound"
    assert sentence.startswith(
        f"The demo language model could not be written to {read_only / 'zoo'} (Permission denied)"
    )
    assert sentence.endswith(REMEDY)


def test_a_cache_folder_that_is_a_file_costs_time_and_stops_the_conversion_with_a_sentence(cache, parts):
    cache.write_text("a file")
    disk.store("tokens", "a", DATA)
    assert disk.stored("tokens", "a") is None
    assert disk.trouble().endswith(REMEDY)
    with child(cache, work.convert, str(parts)) as converting:
        (outcome, sentence), _ = converting.result()
    assert outcome == "NotFound"
    assert sentence.endswith(REMEDY)
    assert cache.read_text() == "a file"


def test_a_corrupted_cache_is_never_served_wrong(cache):
    """Bytes turned and files cut at random, in the database and in the files beside it; read by a process of its own,
    since a file that is cut under a memory map ends the process that reads it."""
    entries = {f"key {i}": bytes([i]) * (50 if i % 2 else 50_000) for i in range(8)}
    with child(cache, work.keep, entries) as keeping:
        keeping.result()
    whole = {path: path.read_bytes() for path in cache.rglob("*") if path.is_file()}
    dice = random.Random(0)
    damaged = []
    for _ in range(60):
        content = {path: bytearray(data) for path, data in whole.items()}
        for path in dice.sample(sorted(whole), 2):
            if dice.random() < 0.2:
                del content[path][dice.randrange(len(content[path]) + 1) :]
            for _ in range(dice.choice((1, 8, 200))):
                if content[path]:
                    content[path][dice.randrange(len(content[path]))] ^= 1 << dice.randrange(8)
        damaged.append({str(path): bytes(data) for path, data in content.items()})
    with child(cache, work.read_damaged, damaged, entries) as reading:
        found = reading.result()
    assert len(found) == 60
    assert all(wrong == [] for wrong, _ in found)
    assert sum(again for _, again in found) >= 55  # where the sizes are damaged, diskcache may evict all it is given


def test_a_corrupted_language_model_is_noticed_and_made_anew(cache, parts):
    with child(cache, work.convert, str(parts)) as first:
        (_, folder), _ = first.result()
    weights = Path(folder) / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:])
    with child(cache, work.convert, str(parts)) as second:
        assert second.result() == (("done", folder), 4)
    assert weights.read_bytes() == whole
    weights.unlink()
    with child(cache, work.convert, str(parts)) as third:
        assert third.result() == (("done", folder), 4)
    assert weights.read_bytes() == whole


def test_an_upload_that_was_damaged_is_kept_anew_when_it_is_sent_again(cache):
    files = [("model.safetensors", b"weights"), ("config.json", b"{}")]
    name = upload.store(files)
    (kept,) = (cache / "uploads").iterdir()
    (kept / "model.safetensors").write_bytes(b"Weights")
    assert upload.store(files) == name
    assert (kept / "model.safetensors").read_bytes() == b"weights"
    (kept / "config.json").unlink()
    assert upload.store(files) == name
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == dict(files)
    assert list((cache / "uploads").iterdir()) == [kept]


def test_two_sessions_that_send_the_same_at_once_both_have_it(cache, monkeypatch):
    files = [("model.safetensors", b"weights"), ("config.json", b"{}")]
    first = upload.store(files)
    answers = iter((False, True))  # not there when the second looks, and there when it has written its own
    monkeypatch.setattr(upload, "_kept", lambda *_: next(answers))
    assert upload.store(files) == first
    (kept,) = (cache / "uploads").iterdir()
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == dict(files)
