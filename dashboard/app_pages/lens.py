"""Logit lens: the layout of its page."""

from typing import NamedTuple

import streamlit as st

from dashboard import components, links, page, pickers, state
from dashboard.controls import details, switch
from projlens_core import analyses
from projlens_core.analyses.exhibit import Exhibit
from projlens_core.analyses.lens import LensOptions
from projlens_core.analyses.lens.exhibit import at_chance
from projlens_core.runtime.required import required

SIGNS = {"plus": "+v₀", "minus": "−v₀"}
ON = {"triggered": "Triggered", "clean": "Clean", "both": "Both"}
SHIFTS = {"raw": "Raw", "centred": "Centred"}
VIEWS = ("Against chance", "Nearest words", "All ranks")


class LensChoice(NamedTuple):
    """What is looked for, and how the direction is taken and read."""

    target: str
    options: LensOptions


def _panel() -> LensChoice:
    st.markdown("**Lens**")
    more = " Each of its tokens is searched for, except punctuation."
    target = pickers.target(required(state.current_case(), "the case"), "Words to look for", "words", more)
    on = switch("Shift of the images", ON, "shift_of", "triggered")
    shift = switch(
        "Shift",
        SHIFTS,
        "centring",
        "raw",
        help="Centred takes each image's mean over tokens away first, as the paper does: what is left is how patches "
        "differ in their shift, not what all of them share.",
    )
    normed = st.toggle(
        "Through the final norm",
        value=True,
        key=links.flag("normed", True),
        help="A direction has no length, and the head was trained on normed states: the norm gives v₀ the length and "
        "the weighting that the head expects. Off: lm_head(v₀) as it is, as in the paper.",
    )
    return LensChoice(target, LensOptions(on, shift == "centred", not normed))


def _main(exhibit: Exhibit) -> None:
    """What it comes to, then the words along one sign of the direction, folded away where they are no news."""
    for note in exhibit.notes:
        st.text(note)
    sign = switch(
        "Direction",
        SIGNS,
        "sign",
        "plus",
        help="+v₀ is where the suspect pushes images on average; −v₀ is what it takes away.",
    )
    words = [chart for chart in exhibit.charts if chart.name.endswith(f"-{sign}") and "words" in chart.name]
    if not at_chance(exhibit):
        components.charts(words, len(words), 300, alike=True)
        return
    folded = st.expander(
        "The top words, which every direction has", icon=":material/grid_on:", key="words", on_change="rerun"
    )
    with folded:
        if folded.open:
            components.charts(words, len(words), 300, alike=True)


def _details(exhibit: Exhibit, _: LensChoice) -> None:
    """The target's words against chance, the nearest embeddings or all ranks, behind a switch."""
    sign = st.session_state["sign"]
    view = details(VIEWS, "direction_view")
    if view == VIEWS[1]:
        components.table(exhibit.table("nearest words"))
    elif view == VIEWS[2]:
        components.table(exhibit.table("rank frequency"))
    elif targets := exhibit.charts_of(f"targets-{sign}"):
        components.chart(*targets)
        components.table(exhibit.table("target words"))
    else:
        components.empty(
            "No words to look for", "Enter the text that the backdoor is meant to produce in the panel at the side."
        )


page.show(
    analyses.find("lens"),
    _panel,
    _main,
    _details,
    options=lambda reading: reading.options,
    inputs=lambda reading: {"target": reading.target or None},
)
