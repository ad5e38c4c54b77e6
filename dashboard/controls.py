"""Controls that several pages have; what they say stands in the page's address."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import streamlit as st

from dashboard import links

K = TypeVar("K", bound=str)


def switch(
    label: str,
    options: Mapping[K, str] | Iterable[K],
    name: str,
    default: K | None = None,
    *,
    key: str | None = None,
    labelled: bool = True,
    kept: bool = False,
    **more: Any,
) -> K:
    """The chosen one of `options`, of a mapping each by its label; `name` is the address's parameter and, unless
    another is given, the widget's key. default: None is the first; labelled: whether the label is drawn; kept: whether
    it is still chosen when the page is opened again; more: as of st.segmented_control."""
    labels = dict(options) if isinstance(options, Mapping) else {each: str(each) for each in options}
    first = next(iter(labels)) if default is None else default
    return st.segmented_control(
        label,
        list(labels),
        default=first,
        required=True,
        format_func=labels.__getitem__,
        key=links.option(name, labels, first, key),
        label_visibility="visible" if labelled else "collapsed",
        persist_state="session" if kept else None,
        **more,
    )


def details(
    options: Mapping[K, str] | Iterable[K], name: str, *, key: str | None = None, wrap: bool | None = None
) -> K:
    """The chosen view of a page's details."""
    return switch("Details", options, name, key=key, labelled=False, wrap=wrap)


def slider(label: str, low: int, high: int, first: int, name: str, **more: Any) -> int:
    """A whole number from low to high, kept for the session; `name` as of a switch; more: as of st.slider."""
    key = links.number(name, low, high, first)
    return st.slider(label, low, high, first, key=key, persist_state="session", **more)


def text(label: str, first: str, name: str, key: str | None = None, **more: Any) -> str:
    """A line of text without blanks at its ends, kept for the session; `name` as of a switch; more: as of
    st.text_input."""
    key = links.text(name, first, key)
    return st.text_input(label, first, key=key, persist_state="session", **more).strip()
