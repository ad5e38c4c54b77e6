"""Summary: what speaks for a backdoor, what against, what is missing; all of it linked to where it was found."""

from collections.abc import Mapping
from functools import partial
from typing import Literal

import streamlit as st

from dashboard import components, own_files, pages, resources, state
from dashboard.views import demo_models
from projlens_core.analyses.case.exhibit import data as weights_of
from projlens_core.cases.case import Case
from projlens_core.report.summary import TITLES, Finding, State, finding, of_findings
from projlens_core.sources import ZooEntry

ICONS = {"for": ":material/flag:", "against": ":material/remove_circle:", "open": ":material/help:"}
BADGES: dict[State, tuple[str, Literal["red", "orange", "blue", "gray"]]] = {
    "demonstrated": (":material/flag:", "red"),
    "suspicious": (":material/report:", "orange"),
    "inconclusive": (":material/help:", "gray"),
    "no evidence found": (":material/search_off:", "blue"),
    "not run": (":material/hourglass_empty:", "gray"),
}
READING = (
    "How to read this: weights are read here; everything else was measured since this server started, on the page it "
    "links to, with the images and the trigger chosen there. Nothing is combined into a "
    "score: each sentence stands on its own."
)


def page() -> None:
    """Draw the page."""
    components.header(pages.SUMMARY)
    case, zoo = state.current_case(), resources.zoo()
    _start(case, zoo)
    if case is None:
        components.empty("No case yet", "Choose a demo model or open your own files, both above.")
        return
    components.case_line(case, zoo)
    opened = components.attempt("This case cannot be opened", partial(resources.decomposed, case))
    if opened is None:
        components.page_link("case", "Open other files")
        return
    resources.remember(case, finding("case", weights_of(opened)))
    found = of_findings(resources.remembered(case).values())
    with st.container(border=True, gap="xsmall"):
        st.badge(found.state.capitalize(), icon=BADGES[found.state][0], color=BADGES[found.state][1])
        st.subheader(components.plain(found.headline), anchor=False)
        components.page_link("verdict", "The search and its trial" if found.searched else "Search for a backdoor")
    columns = st.grid(len(TITLES), min_column_width=190, gap="small")
    for side, title in TITLES.items():
        with columns.cell():
            st.markdown(f"{ICONS[side]} **{title}**")
            for each in found.sides[side]:
                _one(each)
            if not found.sides[side]:
                st.caption("Nothing so far.")
    st.caption(READING)
    with st.container(horizontal=True):
        components.page_link("case", "Choose another case")
        components.page_link("demo", "See how it works")
        components.page_link("report", "Share it")


def _start(case: Case | None, zoo: Mapping[str, ZooEntry]) -> None:
    """Where a visit begins: the demo models, and beside them one's own files."""
    with st.container(border=True):
        places = st.grid(2 if zoo else 1, min_column_width=320, gap="small")
        if zoo:
            with places.cell():
                st.markdown("**Look at a demo model**")
                demo_models.choice(case, zoo)
        with places.cell():
            if not zoo:
                st.caption("No demo models are installed here; `python -m projlens_core zoo build` makes them.")
            st.markdown("**or at a model of your own**" if zoo else "**Look at a model of your own**")
            own_files.form(expanded=not zoo)


def _one(said: Finding) -> None:
    with st.container(border=True, gap="xsmall"):
        st.text(said.sentence)
        components.page_link(said.key, pages.named(said.key).title)


page()
