"""Neurons: are there units that only the trigger switches on?"""

import streamlit as st

from dashboard import components, pages, pickers, resources, results, state
from dashboard.pickers import SetChoice
from projlens_core.activations.model import VisionModel
from projlens_core.activations.neurons import analyse
from projlens_core.errors import ProjLensError
from projlens_core.evidence.case import OpenedCase
from projlens_core.evidence.exhibit import Chart, Exhibit
from projlens_core.exhibits import neurons as exhibits
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.progress import Progress

SEED = 0
VIEWS = ("Ranking", "Distributions", "All units")
RANKINGS = {
    "difference": "Difference",
    "ratio": "Ratio",
    "quiescent-active": "Quiet, then active",
    "change": "Change",
}
MEANINGS = {
    "difference": "Units whose mean magnitude differs most between triggered and clean pictures.",
    "ratio": "Units whose mean magnitude grows by the largest factor.",
    "quiescent-active": "Of the fifth least active on clean pictures, those most active on triggered ones.",
    "change": "Units whose activation at the same patch changes most when the trigger is added.",
}


def page() -> None:
    """Draw the page."""
    components.header(pages.NEURONS)
    case = state.current_case()
    if case is None:
        components.no_case()
        return
    picture, pictures, rankings, details = components.layout()
    with pictures:
        choice = pickers.set_panel(case)
    with rankings:
        by = _ranking()
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
            components.failure(error, "The hidden units cannot be watched")
            return
        components.metrics(list(found.metrics), control=opened.control is not None)
        for note in found.notes:
            st.markdown(components.plain(note))
        _side_by_side(found, "clean-against-triggered")
    with details:
        _details(found, by)


def _ranking() -> str:
    """By what units are ranked, and what that means."""
    st.markdown("**Rank units by**")
    return st.radio(
        "Rank units by",
        list(RANKINGS),
        format_func=RANKINGS.get,
        captions=list(MEANINGS.values()),
        key="ranking",
        bind="query-params",
        label_visibility="collapsed",
    )


def _found(opened: OpenedCase, tower: VisionModel, choice: SetChoice, progress: Progress) -> Exhibit:
    """The exhibit of these pictures, kept by what decides it."""
    projectors = opened.projectors
    told = results.told(opened, choice, seed=SEED)
    key = content_key(tower.key, repr(told), choice.key)

    def make() -> Exhibit:
        tokens = results.set_tokens(tower, choice, progress)
        return exhibits.neurons(analyse(projectors, tokens.clean, tokens.triggered, progress, SEED), told)

    return resources.shelf("neurons", 8).get(key, make, progress)


def _details(found: Exhibit, by: str) -> None:
    """The ranking, the distributions or every unit, behind a switch."""
    view = st.segmented_control(
        "Details", VIEWS, default=VIEWS[0], required=True, key="neurons_view", label_visibility="collapsed"
    )
    if view == VIEWS[0]:
        components.chart(_named(found, f"ranking-{by}")[0])
    elif view == VIEWS[1]:
        _side_by_side(found, "distribution")
    else:
        components.table(found.tables[0])


def _side_by_side(found: Exhibit, name: str) -> None:
    """The charts of all projectors beside each other, and once what they share: how to read them."""
    shown = _named(found, name)
    columns = st.grid(len(shown), min_column_width=600 // len(shown), gap="small")
    for each in shown:
        components.draw(each, columns)
    st.caption(shown[0].caption)


def _named(found: Exhibit, name: str) -> list[Chart]:
    return [each for each in found.charts if each.name.startswith(name)]


page()
