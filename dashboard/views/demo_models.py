"""The demo models side by side, each a click away from being the suspect."""

from collections.abc import Mapping

import streamlit as st

from dashboard import state
from projlens_core.cases.case import Case
from projlens_core.sources import PREFIX, ZooEntry


def choice(case: Case | None, zoo: Mapping[str, ZooEntry]) -> None:
    """Draw them, that of the case chosen; one that is clicked becomes the case. Nothing where none are installed."""
    variants = {f"{PREFIX}{name}": entry.title for name, entry in zoo.items() if entry.role == "suspect"}
    if not variants:
        return
    suspect = case.suspect if case else None
    chosen = st.segmented_control(
        "Demo model",
        list(variants),
        default=suspect if suspect in variants else None,
        format_func=variants.__getitem__,
        key=f"variant {suspect}",
        label_visibility="collapsed",
        wrap=True,
    )
    if chosen and chosen != suspect:
        state.choose_zoo(zoo, chosen.removeprefix(PREFIX))
        st.rerun()
