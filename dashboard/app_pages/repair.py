"""Repair: what a repair did to the suspect, before and after, and the repaired suspect to take away."""

import streamlit as st

from dashboard import components, links, pages, pickers, resources, state
from dashboard.page import asked
from dashboard.repairs import Made, repaired
from dashboard.switches import details
from projlens_core.analyses.exhibit import Exhibit
from projlens_core.analyses.repair import RepairOptions
from projlens_core.cases.case import Case
from projlens_core.errors import ProjLensError
from projlens_core.repair.form import form_of
from projlens_core.repair.writer import SIDECAR
from projlens_core.sources import resolve

VIEWS = ("Answers", "Triggers", "Rounds")


def _panel() -> tuple[RepairOptions, bool]:
    """What the repair may take, and whether the trigger on the page is known to be the suspect's."""
    st.markdown("**Repair**")
    known = st.toggle(
        "A trigger is known",
        key=links.flag("repair_known"),
        help="It then takes part in the repair, and its success is measured before and after. Off, nothing of it is "
        "used: the repair goes by generic triggers and by what ΔW reads.",
    )
    target = st.text_input("What it makes the model say, if known", key=links.text("repair_target")) if known else ""
    search = st.toggle(
        "Search before and after",
        True,
        key=links.flag("repair_search", True),
        help="The verdict's search, in the suspect and again in the result; minutes on a CPU.",
    )
    budget = st.slider("Minutes after which no stage begins", 1, 30, 5, key=links.number("repair_budget", 1, 30, 5))
    st.caption(
        "“Repaired” is said only of what was shown on images that the repair never saw: at least 35 are kept for that "
        "where there are enough."
    )
    return RepairOptions(target=target.strip(), search=search, budget=float(budget)), known


def _main(made: Made, case: Case) -> None:
    found = made.exhibit
    shown = found.data["repaired"]
    st.badge(
        "Repaired" if shown else "Not shown to be repaired",
        color="green" if shown else "orange",
        icon=":material/healing:" if shown else ":material/help:",
    )
    st.markdown(components.plain(found.data["sentence"]))
    components.metrics(list(found.metrics), control=case.control is not None)
    _download(made, case)
    spectra = [each for each in found.charts if each.name != "before-and-after"]
    for each in found.charts:
        if each not in spectra:
            components.chart(each)
    grid = st.grid(max(1, min(2, len(spectra))), min_column_width=280, gap="small")
    for each in spectra:
        with grid.cell():
            components.chart(each)
    components.sentences(found.notes[1:])


def _download(made: Made, case: Case) -> None:
    if made.archive is None:
        command = f"projlens repair --base {case.base} --suspect {case.suspect} --out DIR"
        st.caption("The suspect is too large for a download; the command writes it:")
        st.code(command, language=None)
        return
    st.download_button(
        "Save the repaired suspect (ZIP)",
        made.archive,
        "repaired.zip",
        "application/zip",
        icon=":material/download:",
        on_click="ignore",
        help=f"In the suspect's own form, with {SIDECAR}: what was done, hashes of all files, and what was shown.",
    )


def _details(exhibit: Exhibit) -> None:
    view = details(VIEWS, "repair_view")
    tables = {table.name: table for table in exhibit.tables}
    components.table(tables[{"Answers": "answers", "Triggers": "attacks", "Rounds": "rounds"}[view]])


def _page() -> None:
    components.header(pages.REPAIR)
    case = state.current_case()
    if case is None:
        components.no_case()
        return
    components.case_line(case, resources.zoo())
    above, images, controls, below = components.layout()
    with images:
        choice = pickers.set_panel(case, triggered=st.session_state.get(links.flag("repair_known"), False))
    with controls:
        options, known = _panel()
    with above:
        if choice is None:
            components.no_set()
            return
        ask = asked("repair")
        try:
            with components.progress() as progress:
                form_of(resolve(case.suspect), resolve(case.base))  # a form that cannot be written is said at once
                made = repaired(case, choice, options, known, progress, ask)
        except ProjLensError as error:
            components.failure(error, "The suspect cannot be repaired")
            return
        if made is None:
            components.empty(
                "Not repaired yet" if not state.stopped() else "Stopped", "This takes minutes; press Start to begin."
            )
            return
        _main(made, case)
    with below:
        _details(made.exhibit)


_page()
