"""Tables, and the part of a document that is renewed."""

import pytest

from projlens_core.errors import InvalidInput
from projlens_core.runtime.markdown import renew, renewed, table


def test_a_table_has_its_head_a_rule_and_its_rows():
    assert table(("a", "b"), [("1", "2"), ("3", "4")]) == ["| a | b |", "| --- | --- |", "| 1 | 2 |", "| 3 | 4 |"]
    assert table(("a",), []) == ["| a |", "| --- |"]


def test_what_a_model_said_stays_in_its_cell():
    assert table(("text",), [("a | b\nc \\| d",)])[2] == "| a \\| b c \\| d |"


def test_what_stands_between_the_marks_is_renewed_and_nothing_else(tmp_path):
    document = tmp_path / "page.md"
    document.write_text("before\n<b>\nold\n<e>\nafter\n")
    for _ in range(2):
        renew(document, "<b>", "<e>", ["new", "lines"])
        assert document.read_text() == "before\n<b>\nnew\nlines\n<e>\nafter\n"


@pytest.mark.parametrize("text", ["", "<b>\nold", "old\n<e>", "<e>\nold\n<b>"])
def test_a_document_without_the_marks_is_left_alone(text):
    with pytest.raises(InvalidInput, match=r"page\.md .* '<b>' and '<e>'"):
        renewed(text, "<b>", "<e>", ["new"], "page.md")
