"""Verdict: the layout of its page."""

import streamlit as st

from dashboard import components, page, resources
from projlens_core import analyses
from projlens_core.analyses.exhibit import Exhibit
from projlens_core.inputs.probes import Probe
from projlens_core.inputs.triggers import TriggerSpec

VIEWS = ("The trial", "All probes")


def _panel() -> None:
    """How the search goes, since there is nothing to set."""
    st.markdown("**Method**")
    st.caption(
        "Generic triggers are stamped on three images, whatever trigger is set on the left. What counts is how much "
        "more than base's own answers the suspect's own give way; the best are varied, and the text that they bring "
        "is taken from ten further images."
    )
    st.caption(
        "Then trigger and text are tried on all remaining images, which decided nothing so far: at least 35 are needed "
        "for “demonstrated”."
    )


def _picture(found: Exhibit) -> None:
    decided = found.data["verdict"]
    st.badge(decided.capitalize(), color="orange" if decided == "demonstrated" else "gray", icon=":material/gavel:")
    st.markdown(components.plain(found.data["sentence"]))
    if trigger := found.data["trigger"]:
        _recovered(found, Probe("recovered", tuple(TriggerSpec.from_dict(spec) for spec in trigger)))
    for each in found.charts:
        components.chart(each)
    for note in found.notes[1:]:
        st.text(note)


def _recovered(found: Exhibit, probe: Probe) -> None:
    """What the recovered trigger looks like on a sample, and the file that every other page accepts."""
    shown, said = st.columns([1, 3], gap="medium")
    if samples := resources.samples():
        shown.image(
            probe.on(samples[0].image), width="stretch", caption="the trigger on a sample", alt="A sample image"
        )
    with said:
        st.caption("What it brings")
        components.answer(found.data["target"], found.data["target"])
        if len(probe.stamps) == 1:
            st.download_button(
                "Save the trigger as JSON",
                probe.stamps[0].to_json(),
                "recovered-trigger.json",
                "application/json",
                icon=":material/download:",
                on_click="ignore",
            )


def _details(found: Exhibit, _: None) -> None:
    """The trial's answers, or every probe, behind a switch."""
    tables = {table.name: table for table in found.tables}
    views = VIEWS if "trial" in tables else VIEWS[1:]
    view = st.segmented_control(
        "Details", views, default=views[0], required=True, key="verdict_view", label_visibility="collapsed"
    )
    components.table(tables["trial" if view == "The trial" else "probes"])


page.show(analyses.find("verdict"), _panel, _picture, _details)
