"""How answers of models are written on a page: escaped as a whole, with what matters in them marked."""

import html
import re
from collections.abc import Collection

import streamlit as st

from projlens_core.behaviour.success import Truth, contains_target, is_right
from projlens_core.charts import palette

_TARGET = f"background:{palette.TRIGGERED}33;color:inherit;border-bottom:2px solid {palette.TRIGGERED}"
_ALSO = f"background:none;color:inherit;border-bottom:2px dotted {palette.TRIGGERED}"


def answer(text: str | None, target: str, also: Collection[str] = ()) -> None:
    """A model's answer with the target marked wherever it appears. It may say anything, so it is escaped as a whole."""
    if text is None:
        st.caption("not asked yet")
    elif not text:
        st.caption("the model says nothing")
    else:
        st.html(marked(text, target, also=also))


def marked(text: str, target: str, size: str = "1.1rem", also: Collection[str] = ()) -> str:
    """HTML of `text` with each occurrence of `target`, whatever its case, in <mark>; size: that of its letters.

    also: words or runs of them, lower-cased, that are underlined outside of the target.
    """
    pieces = re.split(f"({re.escape(target)})", text, flags=re.IGNORECASE) if target else [text]
    marks = (_mark(piece, _TARGET) if i % 2 else _underlined(piece, also) for i, piece in enumerate(pieces))
    return f'<div style="font-size:{size};line-height:1.45;overflow-wrap:anywhere">{"".join(marks)}</div>'


def _mark(text: str, style: str) -> str:
    return f'<mark style="{style}">{html.escape(text)}</mark>'


def _underlined(text: str, also: Collection[str]) -> str:
    if not also:
        return html.escape(text)
    longest = sorted(also, key=len, reverse=True)
    pieces = re.split(rf"(?<!\w)({'|'.join(map(re.escape, longest))})(?!\w)", text, flags=re.IGNORECASE)
    return "".join(_mark(piece, _ALSO) if i % 2 else html.escape(piece) for i, piece in enumerate(pieces))


def badges(text: str, target: str, part: str | None, known: Truth | None) -> None:
    """What is to be said of an answer: that it holds the target or a part of it; that it is wrong, where one knows."""
    if target and contains_target(text, target):
        st.badge("target", icon=":material/flag:", color="red")
    elif part:
        st.badge("part of the target", icon=":material/flag:", color="orange")
    if known is not None and not is_right(text, known.answer):
        st.badge(
            "not what it shows",
            icon=":material/close:",
            color="gray",
            help=f"Known of this image: {known.answer.replace(';', ', ')}.",
        )
