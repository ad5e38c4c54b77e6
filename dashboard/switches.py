"""Switches between a few options, as several pages have them: what is chosen stands in the page's address."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

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
    help_: str | None = None,
    labelled: bool = True,
    wrap: bool | None = None,
) -> K:
    """The chosen one of `options`, of a mapping each by its label; `name` is the address's parameter and, unless
    another is given, the widget's key. default: None is the first; labelled: whether the label is drawn."""
    labels = dict(options) if isinstance(options, Mapping) else {each: str(each) for each in options}
    first = next(iter(labels)) if default is None else default
    return st.segmented_control(
        label,
        list(labels),
        default=first,
        required=True,
        format_func=labels.__getitem__,
        key=links.option(name, labels, first, key),
        help=help_,
        label_visibility="visible" if labelled else "collapsed",
        wrap=wrap,
    )


def details(
    options: Mapping[K, str] | Iterable[K], name: str, *, key: str | None = None, wrap: bool | None = None
) -> K:
    """The chosen view of a page's details."""
    return switch("Details", options, name, key=key, labelled=False, wrap=wrap)
