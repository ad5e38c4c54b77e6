"""Demo: the mechanism on one screen, for an audience; one slider moves shift, norm and answer together."""

import streamlit as st

from dashboard import components, pages, pickers, questions, resources, state
from dashboard.controls import switch
from dashboard.views import demo_models, stage
from projlens_core.cases.case import Case
from projlens_core.inputs.doses import DoseAxis, dose_axes

AXES: dict[DoseAxis, str] = {"strength": "Strength", "size": "Size"}


def page() -> None:
    """Draw the page."""
    components.header(pages.DEMO)
    case = state.current_case()
    if case is None:
        components.no_case()
        return
    shown = st.container(gap="small")
    with st.expander("Image, trigger and question", icon=":material/image:"):
        columns = st.grid(3, min_column_width=components.COLUMN, gap="medium")
        with columns.cell():
            image = pickers.image_panel()
        with columns.cell():
            choice = pickers.trigger_panel(case, image) if image else None
        with columns.cell():
            question, target = questions.question(case), pickers.target(case)
    with shown:
        _case(case)
        if image is None:
            components.empty("No image yet", "Upload one below to put a trigger on it.")
        elif choice is not None and choice.spec is None:
            components.empty(
                "Nothing to vary", "The image already carries its trigger; choose an image without a trigger."
            )
        elif choice is not None:
            stage.play(case, choice, _axis(choice), question, target)


def _case(case: Case) -> None:
    """The demo models to choose from, and the case on screen."""
    zoo = resources.zoo()
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        demo_models.choice(case, zoo)
        components.case_line(case, zoo)


def _axis(choice: pickers.Choice) -> DoseAxis:
    """What the slider moves; of a trigger of the whole image there is nothing to choose."""
    axes = dose_axes(choice.trigger)
    if len(axes) == 1:
        return axes[0]
    return switch("What the slider moves", {axis: AXES[axis] for axis in axes}, "dose_axis", labelled=False, kept=True)


page()
