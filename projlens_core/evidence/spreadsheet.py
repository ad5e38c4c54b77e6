"""Tables for a spreadsheet: CSV in which no text is run as a formula."""

import pandas as pd

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def as_csv(frame: pd.DataFrame) -> bytes:
    """The table as UTF-8 CSV with a byte-order mark; a text that a spreadsheet would run as a formula is quoted."""
    return frame.map(_no_formula).to_csv(index=False).encode("utf-8-sig")


def _no_formula(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value
