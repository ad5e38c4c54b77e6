"""The sidebar's list of saved and recent cases: to save the page on screen, open one, rename it, delete it and undo."""

from collections.abc import Callable

import streamlit as st

from dashboard import components, pages, resources, saved_cases, state, unlinked
from dashboard.saved_cases import SavedCase
from projlens_core.errors import ProjLensError

NAME = "saved_name"  # the widget's key
RENAMING = "saved_renaming"  # key of the case whose name is being changed
DELETED = "saved_deleted"  # the case that was deleted last
REFUSED = "saved_refused"  # why the last wish was not carried out
REMEMBERED = "saved_remembered"  # the case that this session noted last
KEPT = (
    "A saved case is this page's address with every parameter. Results are not saved: they are computed again or "
    "found in the cache."
)
SHARED = "Whoever can reach this server sees saved cases."


def listing(page: str) -> None:
    """Draw the list, closed; page: the name of the page on screen. The case on screen becomes the newest recent one."""
    case = state.current_case()
    if case is not None and st.session_state.get(REMEMBERED) != case:
        st.session_state[REMEMBERED] = case
        saved_cases.remember(case)
    with st.popover("Cases", icon=":material/bookmarks:", width="stretch", key="cases", on_change="rerun") as place:
        if not place.open:
            return
        try:
            _save(page)
            _saved()
            _recent()
        except ProjLensError as error:
            components.failure(error, "Saved cases cannot be read")


def _save(page: str) -> None:
    with (
        st.form("save case", border=False, clear_on_submit=True),
        st.container(horizontal=True, vertical_alignment="bottom", gap="small"),
    ):
        st.text_input("Save this page as", key=NAME, max_chars=saved_cases.LONGEST_NAME)
        st.form_submit_button("Save", on_click=_keep, args=(page,))
    if why := st.session_state.pop(REFUSED, None):
        st.text(why)
    st.caption(KEPT)
    for each in unlinked.sentences():
        st.caption(f":material/link_off: {each}")
    if not saved_cases.is_own():
        st.caption(SHARED)


def _saved() -> None:
    cases, unread = saved_cases.saved()
    st.markdown("**Saved**")
    for case in cases:
        with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
            if st.session_state.get(RENAMING) == case.key:
                key = f"rename {case.key}"
                st.text_input("New name", case.name, key=key, on_change=_rename, args=(case, key))
            else:
                _link(case.page, case.name, case.params)
                _button("Rename", case, _begin)
            _button("Delete", case, _delete)
    if not cases:
        st.caption("None yet.")
    if unread:
        st.caption(f"{unread} files in the folder of saved cases could not be read.")
    if gone := st.session_state.get(DELETED):
        st.button(f"Undo: bring back {components.plain(gone.name)}", icon=":material/undo:", on_click=_undo)


def _recent() -> None:
    if not (recent := saved_cases.recent()):
        return
    st.markdown("**Recent**")
    zoo = resources.zoo()
    for case in recent:
        others = ", ".join(
            f"{role} {components.shown(spec, zoo)}" for role, spec in case.specs.items() if role != "suspect"
        )
        alone = ", projector only" if case.projector_only else ""
        _link(pages.SUMMARY.name, f"{components.shown(case.suspect, zoo)} ({others}{alone})", case.to_params())


def _link(page: str, label: str, params: dict[str, str]) -> None:
    """To the page of this name with these parameters."""
    found = pages.named(page)
    st.page_link(found.file, label=components.plain(label), icon=found.icon, query_params=params)


def _button(label: str, case: SavedCase, act: Callable[[SavedCase], None]) -> None:
    st.button(label, type="tertiary", key=f"{label} {case.key}", on_click=act, args=(case,))


def _keep(page: str) -> None:
    _try(lambda: saved_cases.save(st.session_state[NAME], page, st.query_params.to_dict()))


def _begin(case: SavedCase) -> None:
    st.session_state[RENAMING] = case.key


def _rename(case: SavedCase, key: str) -> None:
    st.session_state[RENAMING] = None
    _try(lambda: saved_cases.rename(case, st.session_state[key]))


def _delete(case: SavedCase) -> None:
    if _try(lambda: saved_cases.delete(case)):
        st.session_state[DELETED] = case


def _undo() -> None:
    case = st.session_state.pop(DELETED)
    _try(lambda: saved_cases.save(case.name, case.page, case.params, case.key))


def _try(act: Callable[[], object]) -> bool:
    """Whether what was asked for could be done; what cannot is said where it was asked."""
    try:
        act()
    except ProjLensError as error:
        st.session_state[REFUSED] = str(error)
        return False
    return True
