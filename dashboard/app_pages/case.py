"""Case: what was changed in this projector? Weights only; no model is run."""

from dataclasses import replace
from functools import partial

import streamlit as st

from dashboard import components, own_files, pages, resources, state
from dashboard.controls import details
from projlens_core.analyses.case import exhibit as exhibits
from projlens_core.analyses.case import proof as proofs
from projlens_core.cases.case import Case, OpenedCase, unproven
from projlens_core.cases.whose import unread
from projlens_core.sources import PREFIX, ZooEntry

DETAILS = ("What changed", "What was opened", "What was not compared", "The rest of the model")


def page() -> None:
    """Draw the page."""
    zoo = resources.zoo()
    components.header(pages.of("case"))
    case = state.current_case()
    if case is not None:
        components.case_line(case, zoo)
    main, suspects, others, details = components.layout()
    with suspects:
        own_files.form(expanded=not zoo)
        st.markdown("**Suspects that ship with ProjLens**")
        _cards(zoo, "suspect", ":material/bug_report:")
        if not zoo:
            st.caption("None are installed here; `python -m projlens_core zoo build` makes them.")
    with others:
        if zoo:
            st.markdown("**Controls: honest fine-tunes**")
            _cards(zoo, "control", ":material/verified_user:")
            _control(zoo)
        _experiment()
    with main:
        if case is None:
            components.empty(
                "No case yet",
                "Choose a suspect that ships with ProjLens, or open your own files, in the panel at the side or above.",
            )
            return
        opened = components.attempt("This case cannot be opened", partial(resources.decomposed, case))
        if opened is None:
            return
        _main(opened)
        components.parts(unread(case))
    with details:
        _details(opened)


def _cards(zoo: dict[str, ZooEntry], role: str, icon: str) -> None:
    """The zoo's models of one role, each a click away from being the suspect."""
    case = state.current_case()
    for name, entry in zoo.items():
        if entry.role != role:
            continue
        chosen = case is not None and case.suspect == PREFIX + name
        with st.container(gap="xxsmall"):
            st.button(
                entry.title,
                key=f"zoo-{name}",
                type="primary" if chosen else "secondary",
                icon=icon,
                width="stretch",
                on_click=lambda name=name: state.choose_zoo(zoo, name),
            )
            st.caption(entry.summary)


def _control(zoo: dict[str, ZooEntry]) -> None:
    """Which of the zoo's controls the suspect is compared with; nothing for a case of other models."""
    case = state.current_case()
    base = resources.zoo_entry(case.base) if case is not None else None
    if case is None or base is None:
        return
    controls = [PREFIX + name for name, entry in zoo.items() if entry.role == "control" and entry.tiny == base.tiny]
    if case.control not in (None, *controls):
        return
    offered = ["", *(spec for spec in controls if spec != case.suspect)]
    key = f"control of {case.suspect}, {case.control}"
    st.selectbox(
        "Compare the suspect with",
        offered,
        index=offered.index(case.control) if case.control in offered else 0,
        format_func=lambda spec: components.shown(spec, zoo) if spec else "no control",
        key=key,
        on_change=lambda: state.choose_case(replace(case, control=st.session_state[key] or None)),
        help="A control is a clean fine-tune of the same base: it shows what an honest change looks like.",
    )


def _experiment() -> None:
    """Whether base's tower and language model run under every projector; the demo models all have the same ones."""
    case = state.current_case()
    if case is None or all(map(resources.zoo_entry, case.specs.values())):
        return
    key = f"projector only, {case.base}, {case.suspect}, {case.control}, {case.projector_only}"
    st.toggle(
        "Projector only",
        case.projector_only,
        key=key,
        on_change=lambda: state.choose_case(replace(case, projector_only=st.session_state[key])),
        help="An experiment: base's vision tower and language model run under every projector, even where suspect or "
        "control bring their own. It shows what the projector does, not what their own models do.",
    )


def _main(opened: OpenedCase) -> None:
    """Headline numbers of the last matrix, and the spectra of all matrices."""
    if opened.delta.equal:
        components.empty("Nothing changed", "Base and suspect hold the same projector, value for value.")
        return
    if not opened.delta.changed:
        components.empty("Not all was compared", "What changed may lie in what was not compared; that is listed below.")
        st.text(unproven(opened.delta))
        return
    drawn = exhibits.charts(opened)
    if not drawn:
        components.empty("No matrix changed", "Only biases, norms or other vectors did: the table says how far.")
        return
    components.metrics(list(exhibits.metrics(opened)), control=opened.control is not None)
    plots = st.grid(min(2, len(drawn) // 2), min_column_width=280, gap="small")
    for values, energy in zip(drawn[::2], drawn[1::2], strict=True):
        with plots.cell():
            for each in (values, energy):
                components.draw(each)
    st.caption(drawn[0].caption)
    if len(drawn) < 2 * len(opened.spectra):
        st.caption(
            f"At most {exhibits.MATRICES} matrices are drawn, those that changed most; Spectrum shows the others."
        )


def _details(opened: OpenedCase) -> None:
    """Tables behind a switch, and the way on."""
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        view = details(DETAILS, "case_view", wrap=True)
        with st.container(horizontal=True, width="content"):
            components.page_link("activation", "See where it acts")
            components.page_link("response", "Ask the model")
    if view == DETAILS[0]:
        changes = exhibits.changes(opened)
        components.table(changes, _FORMATS)
        for name, base, suspect in opened.delta.settings_changed:
            st.text(f"{name} differs in the configs: {base} in the base, {suspect} in the suspect.")
        for role, also in ((role, each.also_changed) for role, each in opened.projectors.items() if each.also_changed):
            counts = ", ".join(f"{part} ({len(names):,})" for part, names in also.items())
            st.text(f"The {role}'s adapter also changes tensors outside the projector: {counts}.")
    elif view == DETAILS[1]:
        components.table(exhibits.files(opened))
        for weights in filter(None, (opened.base, opened.suspect, opened.control)):
            for warning in weights.warnings:
                st.text(f"{weights.source}: {warning}")
    elif view == DETAILS[3]:
        _rest(opened.case)
    else:
        if opened.delta.not_compared:
            components.table(exhibits.not_compared(opened))
        for note in opened.notes:
            st.text(note)
        if not opened.delta.not_compared and not opened.notes:
            st.text("Everything the projector consists of was compared.")


def _rest(case: Case) -> None:
    """Tower, language model and files, compared on request: all of both models is read for it."""
    if not resources.proved(case):
        st.caption(f"{proofs.QUESTION} Reads all of both models once, at the disk's speed; nothing is run.")
        if not st.button("Compare all the rest", icon=":material/fact_check:"):
            return
    if found := components.attempt("This cannot be compared", partial(resources.proof, case)):
        components.exhibit(proofs.proof(found, case), control=None)


_FORMATS = {
    "‖Δ‖": "%.4g",
    "rounding": "%.2g",
    "relative change": "percent",
    "control's": "percent",
    "cosine": "%.5f",
    "stable rank": "%.1f",
    "effective rank": "%.1f",
}


page()
