"""Saved and recent cases: files on disk, of addresses alone, whatever their names, shared by sessions."""

import json

import pytest

from dashboard import saved_cases
from projlens_core.cases.case import Case
from projlens_core.errors import InvalidInput
from tests.core.test_report import HOSTILE
from tests.dashboard.conftest import press, texts

NAME = "<b>**x** $y$ :red[z] ../../etc \x00"
CASE = Case("b", "s")


def _listing(app):
    app.session_state["cases"] = True  # as a click opens it
    return app.run()


def _labels(app):
    return [link.proto.label for link in app.get("page_link")]


def _saved(app, name):
    app.text_input(key="saved_name").set_value(name)
    return press(app, "Save")


def test_a_saved_page_keeps_every_parameter_and_is_there_for_other_sessions(open_page, models):
    address = models.case.to_params() | {"weights_view": "heatmap"}
    app = _saved(_listing(open_page("weights", address)), NAME)
    assert not app.exception
    (case,), unread = saved_cases.saved()
    assert unread == 0
    assert (case.page, case.params) == ("spectrum", address)
    assert case.name == NAME.replace("\x00", "\\x00")
    link = next(
        each for each in _listing(open_page()).get("page_link") if "x" in each.proto.label and "red" in each.proto.label
    )
    assert "\\*\\*x\\*\\*" in link.proto.label  # text to the letter, not Markdown
    assert "weights_view=heatmap" in link.proto.query_string


def test_a_case_is_renamed_and_deleted_and_brought_back(open_page):
    app = _saved(_listing(open_page()), "mine")
    press(app, "Rename")
    app.text_input(key=f"rename {saved_cases.saved()[0][0].key}").set_value("yours").run()
    assert [case.name for case in saved_cases.saved()[0]] == ["yours"]
    press(app, "Delete")
    assert saved_cases.saved() == ([], 0)
    press(app, "Undo: bring back yours")
    assert [case.name for case in saved_cases.saved()[0]] == ["yours"]
    assert not app.exception


@pytest.mark.parametrize("name", ["", "  ", "\x00" * 40])
def test_a_name_that_is_none_is_one_sentence(open_page, name):
    app = _saved(_listing(open_page()), name)
    assert "A case's name has 1 to 80 characters" in texts(app)
    assert saved_cases.saved() == ([], 0)


def test_cases_of_two_sessions_do_not_undo_each_other_and_what_one_deleted_stays_so(cache):
    first = saved_cases.save("first", "case", {"base": "b", "suspect": "s"})
    second = saved_cases.save("first", "case", {"base": "b", "suspect": "t"})
    saved_cases.delete(first)
    saved_cases.rename(first, "again")
    assert saved_cases.saved()[0] == [second]


@pytest.mark.parametrize(
    "data", [b"", b"[]", b'{"name": 1, "page": "case", "params": {}}', b'{"name": "a", "page": "b", "params": []}',
             b"\xff", b"[" * 2000, b'{"name": "' + b"a" * 70_000],
)  # fmt: skip
def test_a_file_that_is_no_saved_case_is_counted_and_nothing_breaks(cache, open_page, data):
    good = saved_cases.save(HOSTILE[:80], "no such page", {"base": "b", "suspect": "s"})
    (cache / "cases" / "broken.json").write_bytes(data)
    (cache / "cases" / "recent.json").write_bytes(data)
    assert saved_cases.saved() == ([good], 1)
    assert saved_cases.recent() == []
    app = _listing(open_page())
    assert not app.exception
    assert any("could not be read" in each.value for each in app.caption)


def test_there_is_an_end_to_names_addresses_and_cases(cache, monkeypatch):
    with pytest.raises(InvalidInput, match="bytes"):
        saved_cases.save("a", "case", {"base": "b" * 70_000})
    monkeypatch.setattr(saved_cases, "MAX_SAVED", 1)
    saved_cases.save("a", "case", {"base": "b"})
    with pytest.raises(InvalidInput, match="delete one first"):
        saved_cases.save("b", "case", {"base": "b"})


def test_the_cases_that_were_open_last_are_listed_newest_first_and_no_more_than_a_few(open_page, models):
    for number in range(saved_cases.MAX_RECENT + 1):
        saved_cases.remember(Case("b", f"s{number}"))
    saved_cases.remember(Case("b", "s5"))
    assert [case.suspect for case in saved_cases.recent()][:3] == ["s5", "s8", "s7"]
    assert len(saved_cases.recent()) == saved_cases.MAX_RECENT
    app = _listing(open_page())
    assert saved_cases.recent()[0] == models.case
    assert any("(base b)" in label.replace("\\", "") for label in _labels(app))


def test_a_server_that_others_can_reach_keeps_no_list_of_recent_cases(monkeypatch, cache):
    monkeypatch.setattr(saved_cases, "is_own", lambda: False)
    saved_cases.remember(CASE)
    assert not (cache / "cases" / "recent.json").exists()
    assert saved_cases.recent() == []


def test_a_disk_that_takes_nothing_costs_the_list_and_no_page(open_page, cache):
    cache.mkdir(exist_ok=True)
    (cache / "cases").write_text("a file where the folder should be")
    app = _listing(open_page())
    assert not app.exception
    assert "cannot be made" in texts(app)


def test_what_is_written_is_what_an_address_says_and_no_more(cache):
    case = saved_cases.save("a", "case", {"base": "b", "suspect": "s"})
    written = json.loads((cache / "cases" / f"{case.key}.json").read_text())
    assert written == {"key": case.key, "name": "a", "page": "case", "params": {"base": "b", "suspect": "s"}}
