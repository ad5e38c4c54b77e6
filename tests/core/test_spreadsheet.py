"""A table leaves as a file in which no text of a suspect is a formula."""

import csv
import io

import pandas as pd
import pytest

from projlens_core.report.spreadsheet import as_csv, as_parquet

FORMULAS = ["=cmd|' /C calc'!A0", "+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1"]


def cells(frame: pd.DataFrame) -> list[list[str]]:
    return list(csv.reader(io.StringIO(as_csv(frame).decode("utf-8-sig"), newline="")))


@pytest.mark.parametrize("text", FORMULAS)
def test_a_text_that_begins_like_a_formula_is_text_in_a_cell_and_in_the_head(text):
    assert cells(pd.DataFrame({text: [text, "harmless"]})) == [[f"'{text}"], [f"'{text}"], ["harmless"]]


def test_a_text_cannot_open_a_second_cell_or_row():
    head, row = cells(pd.DataFrame({"a": ['x","=1'], "b": ["y\n=1,=2\r=3"]}))
    assert head == ["a", "b"]
    assert row == ['x","=1', "y\n=1,=2\r=3"]


def test_numbers_stay_numbers():
    assert cells(pd.DataFrame({"a": [-1.5, 2.0]}))[1] == ["-1.5"]


def test_parquet_has_the_values_as_they_are():
    frame = pd.DataFrame({"=a": FORMULAS})
    pd.testing.assert_frame_equal(pd.read_parquet(io.BytesIO(as_parquet(frame))), frame)
