"""Tables as files: CSV in which no text is run as a formula, and Parquet, which keeps types."""

from io import BytesIO

import pandas as pd

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
UNSEEN = "\u2060"  # word joiner: takes no room, and a text that begins with it is no formula


def as_csv(frame: pd.DataFrame) -> bytes:
    """The table as UTF-8 CSV with a byte-order mark. A text that a spreadsheet would run as a formula, in a cell or in
    the head, is given an apostrophe before it, which makes it text there; whoever reads the file by other means finds
    the values as they are in the Parquet file.
    """
    # lines end as RFC 4180 has it: then a lone carriage return in a text is quoted, too, and begins no row
    return _guarded(frame, "'").to_csv(index=False, lineterminator="\r\n").encode("utf-8-sig")


def for_screen(frame: pd.DataFrame) -> pd.DataFrame:
    """The same for a table on screen, since a browser saves it as it is shown; what comes before a text is not seen."""
    return _guarded(frame, UNSEEN)


def _guarded(frame: pd.DataFrame, guard: str) -> pd.DataFrame:
    """The table with `guard` before every text that a spreadsheet would run."""
    shown = frame.copy(deep=False)
    for name, kind in frame.dtypes.items():
        if not pd.api.types.is_numeric_dtype(kind):
            shown[name] = frame[name].map(lambda value: _no_formula(value, guard))
    return shown.rename(columns=lambda name: _no_formula(name, guard))


def as_parquet(frame: pd.DataFrame) -> bytes:
    """The table as Parquet; a column that mixes texts with other values is written as text."""
    mixed = [
        name for name, values in frame.items() if pd.api.types.infer_dtype(values, skipna=True).startswith("mixed")
    ]
    buffer = BytesIO()
    frame.assign(**{name: frame[name].astype("string") for name in mixed}).to_parquet(buffer, index=False)
    return buffer.getvalue()


def _no_formula(value: object, guard: str) -> object:
    return f"{guard}{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value
