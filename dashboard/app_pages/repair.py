"""Repair: what a repair did to the suspect, before and after, and the repaired suspect to take away."""

import streamlit as st

from dashboard import components, links, pages
from dashboard.controls import details
from dashboard.page import frame
from dashboard.repairs import Made, repaired
from projlens_core.analyses.repair import RepairOptions
from projlens_core.cases.case import Case
from projlens_core.repair.writer import SIDECAR

VIEWS = ("Answers", "Triggers", "Rounds")


def _panel() -> tuple[RepairOptions, bool]:
    """What the repair may take, and whether the trigger on the page is known to be the suspect's."""
    st.markdown("**Repair**")
    known = st.toggle(
        "A trigger is known",
        key=links.flag("repair_known"),
        help="On: it takes part in the repair, and its success is measured before and after. Off: it is not "
        "used; the repair relies on generic triggers and on the directions that ΔW reads.",
    )
    target = st.text_input("What it makes the model say, if known", key=links.text("repair_target")) if known else ""
    search = st.toggle(
        "Search before and after",
        True,
        key=links.flag("repair_search", True),
        help="Runs the verdict's search on the suspect and again on the result; takes minutes on a CPU.",
    )
    precaution = search and st.toggle(
        "Repair even if nothing is found",
        key=links.flag("repair_precaution"),
        help="A suspect in which the search finds no trigger is left as it is, since every repair costs a little of "
        "what was honestly learned. On: it is repaired as a precaution.",
    )
    budget = st.slider("Time that it may take (minutes)", 1, 30, 5, key=links.number("repair_budget", 1, 30, 5))
    st.caption(
        "“Repaired” claims only what was shown on images that the repair never saw: at least 35 are set aside for that "
        "if there are enough."
    )
    options = RepairOptions(target=target.strip(), search=search, precaution=precaution, budget=float(budget))
    return options, known


def _main(made: Made, case: Case) -> None:
    found = made.exhibit
    shown = found.data["repaired"]
    if found.data["left_as_it_is"]:
        st.badge("Left as it is", color="gray", icon=":material/search_off:")
    else:
        st.badge(
            "Repaired" if shown else "Not shown to be repaired",
            color="green" if shown else "orange",
            icon=":material/healing:" if shown else ":material/help:",
        )
    st.markdown(components.plain(found.data["sentence"]))
    components.metrics(list(found.metrics), control=case.control is not None)
    if not found.data["left_as_it_is"]:
        _download(made, case)
    spectra = [each for each in found.charts if each.name != "before-and-after"]
    for each in found.charts:
        if each not in spectra:
            components.chart(each)
    components.charts(spectra, max(1, min(2, len(spectra))), 280)
    components.sentences(found.notes[1:])


def _download(made: Made, case: Case) -> None:
    if made.archive is None:
        command = f"projlens repair --base {case.base} --suspect {case.suspect} --out DIR"
        st.caption("The suspect is too large for a download; the command writes it:")
        st.code(command, language=None)
        return
    about = f"In the suspect's own form, with {SIDECAR}: what was done, hashes of all files, and what was shown."
    components.download("Save the repaired suspect (ZIP)", made.archive, "repaired.zip", "application/zip", help=about)


def _details(made: Made, _: tuple[RepairOptions, bool]) -> None:
    view = details(VIEWS, "repair_view")
    components.table(made.exhibit.table({"Answers": "answers", "Triggers": "attacks", "Rounds": "rounds"}[view]))


frame(
    pages.REPAIR,
    _panel,
    repaired,
    _main,
    _details,
    triggered=st.session_state.get(links.flag("repair_known"), False),
    failure="The suspect cannot be repaired",
    start="repair",
    not_yet="Not repaired yet",
)
