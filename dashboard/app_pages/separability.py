"""Separability: can clean and triggered images be told apart inside?"""

import streamlit as st

from dashboard import components, pages, pickers, resources, results, state
from dashboard.pickers import SetChoice
from projlens_core.activations.model import VisionModel
from projlens_core.activations.separability import separability
from projlens_core.activations.shift import embeddings
from projlens_core.errors import ProjLensError
from projlens_core.evidence.case import OpenedCase
from projlens_core.evidence.exhibit import Exhibit
from projlens_core.exhibits import separability as exhibits
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.progress import Progress

SEED = 0
VIEWS = ("Every image", "All numbers")


def page() -> None:
    """Draw the page."""
    components.header(pages.SEPARABILITY)
    case = state.current_case()
    if case is None:
        components.no_case()
        return
    picture, pictures, method, details = components.layout()
    with pictures:
        choice = pickers.set_panel(case)
    with method:
        _method()
    with picture:
        components.case_line(case, resources.zoo())
        if choice is None:
            components.no_set()
            return
        try:
            with components.progress() as progress:
                opened = resources.opened(case, progress)
                found = _found(opened, resources.vision(case), choice, progress)
        except ProjLensError as error:
            components.failure(error, "These pictures cannot be told apart")
            return
        components.metrics(list(found.metrics), control=opened.control is not None)
        components.chart(found.charts[0])
        for note in found.notes:
            st.text(note)
    with details:
        _details(found)


def _method() -> None:
    """What is done, since there is nothing to set."""
    st.markdown("**Method**")
    st.caption(
        "Each image's embeddings are averaged over its patches. A linear classifier learns clean against triggered on "
        "four fifths of the pairs and judges the rest, five times over."
    )
    st.caption(
        "An image and its triggered twin always stand on the same side of that divide: otherwise the classifier would "
        "know the picture, and the figure would say nothing about the trigger."
    )


def _found(opened: OpenedCase, tower: VisionModel, choice: SetChoice, progress: Progress) -> Exhibit:
    """The exhibit of these pictures, kept by what decides it."""
    projectors = opened.projectors
    told = results.told(opened, choice, seed=SEED)
    key = content_key(tower.key, repr(told), choice.key)

    def make() -> Exhibit:
        seen = results.set_tokens(tower, choice, progress)
        found = {}
        for role, weights in projectors.items():
            progress("Cross-validating the classifiers", len(found), len(projectors))
            found[role] = separability(embeddings(weights, seen.clean), embeddings(weights, seen.triggered), SEED)
        return exhibits.separability(found, seen.names, told)

    return resources.shelf("separability", 8).get(key, make, progress)


def _details(found: Exhibit) -> None:
    """Every image's decision value, or all figures, behind a switch."""
    view = st.segmented_control(
        "Details", VIEWS, default=VIEWS[0], required=True, key="separability_view", label_visibility="collapsed"
    )
    if view == VIEWS[0]:
        components.chart(found.charts[1])
    else:
        for table in found.tables:
            components.table(table)


page()
