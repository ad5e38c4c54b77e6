"""Separability: the layout of its page."""

import streamlit as st

from dashboard import components, page
from dashboard.controls import details
from projlens_core import analyses
from projlens_core.analyses.exhibit import Exhibit

VIEWS = ("Every image", "All numbers")


def _method() -> None:
    """What is done, since there is nothing to set."""
    st.markdown("**Method**")
    st.caption(
        "Each image's embeddings are averaged over its patches. A linear classifier learns clean against triggered on "
        "four fifths of the pairs and judges the rest, five times over."
    )
    st.caption(
        "An image and its triggered twin are always on the same side of that split: otherwise the classifier would "
        "recognise the image, and the figure would say nothing about the trigger."
    )


def _main(exhibit: Exhibit) -> None:
    components.chart(exhibit.charts[0])
    for note in exhibit.notes:
        st.text(note)


def _details(exhibit: Exhibit, _: None) -> None:
    """Every image's decision value, or all figures, behind a switch."""
    view = details(VIEWS, "separability_view")
    if view == VIEWS[0]:
        components.chart(exhibit.charts[1])
    else:
        for table in exhibit.tables:
            components.table(table)


page.show(analyses.find("separability"), _method, _main, _details)
