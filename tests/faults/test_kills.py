"""kill -9 in the middle: nothing half-made is served, nothing finished is lost, and the next run goes on."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from projlens_core.runtime import cache as disk
from tests.faults import work
from tests.faults.children import child

OLD, NEW = b"old" * 20_000, b"new" * 20_000  # large enough for a file of their own in the cache


def everything(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_a_kill_in_the_middle_of_a_cache_write_leaves_what_was_there_before(cache):
    disk.store("tokens", "finished", OLD)
    disk.store("tokens", "renewed", OLD)
    for key in ("renewed", "first"):
        with child(cache, work.write_half_an_entry, key, NEW) as killed:
            assert killed.heard() == len(NEW) // 2
            killed.kill()
    assert disk.stored("tokens", "finished") == OLD
    assert disk.stored("tokens", "renewed") == OLD
    assert disk.stored("tokens", "first") is None
    disk.store("tokens", "first", NEW)
    assert disk.stored("tokens", "first") == NEW


def test_a_kill_in_the_middle_of_the_conversion_leaves_nothing_half_made_and_the_next_start_makes_it_whole(
    cache, parts
):
    with child(cache, work.convert, str(parts), 2) as killed:
        assert killed.heard() == "in the middle"
        assert list(cache.glob("zoo/*.partial-*/model.safetensors"))
        killed.kill()
    assert not list(cache.glob("zoo/*/sha256.json"))
    with child(cache, work.convert, str(parts)) as after:
        (outcome, folder), steps = after.result()
    assert (outcome, steps) == ("done", 4)
    assert everything(cache / "zoo") >= {Path(folder).name, f"{Path(folder).name}/model.safetensors"}
    assert not list(cache.glob("zoo/*.partial-*"))
    with child(cache, work.convert, str(parts)) as once_more:
        assert once_more.result() == (("done", folder), 0)


def test_a_kill_in_the_middle_of_a_grid_loses_no_finished_cell(cache, models, tmp_path):
    with child(cache, work.fill_grid_to_the_middle, str(models)) as killed:
        assert killed.heard() == "in the middle of the second cell"
        killed.kill()
    with child(cache, work.fill_grid, str(models)) as after, child(tmp_path, work.fill_grid, str(models)) as unharmed:
        kept, cells, asked = after.result()
        none, expected, all_asked = unharmed.result()
    assert (kept, none) == (1, 0)
    assert (asked, all_asked) == (2, 3)
    assert cells == expected


def test_a_kill_in_the_middle_of_a_report_leaves_the_former_one_whole(cache, tmp_path):
    path = tmp_path / "report.html"
    path.write_bytes(OLD)
    with child(cache, work.write_a_report, str(path), NEW) as killed:
        assert killed.heard() == "written, not in its place"
        killed.kill()
    assert path.read_bytes() == OLD
    with child(cache, work.write_a_report, str(path), NEW) as after:
        after.heard()
        after.go_on()
        after.result()
    assert path.read_bytes() == NEW


@pytest.mark.parametrize("kind", work.KINDS)
def test_a_kill_in_the_middle_of_any_other_write_leaves_nothing_under_its_name_and_the_next_is_whole(
    kind, cache, tmp_path
):
    folder = tmp_path / "out"
    folder.mkdir()
    with child(cache, work.write_a_kind, kind, str(folder)) as killed:
        assert killed.heard() == "written, not in its place"
        killed.kill()
    named = {path for path in everything(folder) if not path.split("/")[-1].startswith(".") and "partial-" not in path}
    assert named <= {"uploads"}
    with child(cache, work.write_a_kind, kind, str(folder)) as after:
        after.heard()
        after.go_on()
        after.result()
    named = {path for path in everything(folder) if not path.split("/")[-1].startswith(".") and "partial-" not in path}
    assert any((folder / path).is_file() for path in named)


def test_two_processes_on_one_cache_serve_each_other_what_was_written_and_nothing_else(cache):
    keys = [f"key {i}" for i in range(40)]
    with ExitStack() as stack:
        both = [stack.enter_context(child(cache, work.store_and_read, keys, 5000)) for _ in range(2)]
        assert [one.heard() for one in both] == ["ready", "ready"]
        for one in both:
            one.go_on()
        assert [one.result() for one in both] == [[], []]
    assert all(disk.stored("tokens", key) == key.encode() * 5000 for key in keys)


def test_two_processes_read_the_same_images_through_one_cache_and_a_third_reads_nothing_again(cache, models):
    with ExitStack() as stack:
        three = [stack.enter_context(child(cache, work.read_images, str(models / "base"), 12)) for _ in range(3)]
        assert [one.heard() for one in three] == ["ready"] * 3
        for one in three[:2]:
            one.go_on()
        (first, some), (second, others) = (one.result() for one in three[:2])
        three[2].go_on()
        third, none = three[2].result()
    assert first == second == third
    assert some + others >= 12
    assert none == 0


def test_two_processes_convert_the_language_model_once(cache, parts):
    with child(cache, work.convert, str(parts), 1) as first:
        assert first.heard() == "in the middle"  # and holds the lock
        with child(cache, work.convert_after_a_knock, str(parts)) as second:
            assert second.heard() == "at the door"
            first.go_on()
            (_, folder), steps = first.result()
            assert steps == 4
            assert second.result() == (("done", folder), 0)
