"""Neurons: the layout of its page."""

import streamlit as st

from dashboard import components, links, page
from dashboard.controls import details
from projlens_core import analyses
from projlens_core.analyses.exhibit import Exhibit

VIEWS = ("Ranking", "Distributions", "All units")
RANKINGS = {
    "difference": ("Difference", "Units whose mean magnitude differs most between triggered and clean images."),
    "ratio": ("Ratio", "Units whose mean magnitude grows by the largest factor."),
    "quiescent-active": (
        "Quiet, then active",
        "Of the fifth least active on clean images, those most active on triggered ones.",
    ),
    "change": ("Change", "Units whose activation at the same patch changes most when the trigger is added."),
    "patch": ("One patch", "Units of which a single patch changes most: what a small trigger does to few patches."),
}


def _panel() -> str:
    """By what units are ranked, and what that means."""
    st.markdown("**Rank units by**")
    return st.radio(
        "Rank units by",
        list(RANKINGS),
        format_func=lambda by: RANKINGS[by][0],
        captions=[meaning for _, meaning in RANKINGS.values()],
        key=links.option("ranking", {by: name for by, (name, _) in RANKINGS.items()}, "difference"),
        label_visibility="collapsed",
    )


def _main(exhibit: Exhibit) -> None:
    for note in exhibit.notes:
        st.markdown(components.plain(note))
    _side_by_side(exhibit, "clean-against-triggered")


def _details(exhibit: Exhibit, by: str) -> None:
    """The ranking, the distributions or every unit, behind a switch."""
    view = details(VIEWS, "neurons_view")
    if view == VIEWS[0]:
        components.chart(exhibit.charts_of(f"ranking-{by}")[0])
    elif view == VIEWS[1]:
        _side_by_side(exhibit, "distribution")
    else:
        components.table(exhibit.tables[0])


def _side_by_side(exhibit: Exhibit, name: str) -> None:
    """The charts of all projectors in a row."""
    shown = exhibit.charts_of(name)
    components.charts(shown, len(shown), 600 // len(shown), alike=True)


page.show(analyses.find("neurons"), _panel, _main, _details)
