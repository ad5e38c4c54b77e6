"""The form "Open your own files": three paths, or files that the browser sends, become the case on screen."""

from collections.abc import Iterable

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from dashboard import components, state
from projlens_core.cases.case import Case
from projlens_core.errors import InvalidInput
from projlens_core.sources import resolve
from projlens_core.weights import upload
from projlens_core.weights.selection import WEIGHTS

PLACE = "folder, file or hub:OWNER/NAME"
FORMS = (
    "A checkpoint folder; a .safetensors, .bin, .pt, .pth or .gguf file; an adapter's folder; zoo:NAME; or "
    "hub:OWNER/NAME@REVISION. Or upload weight files (with config.json or adapter_config.json) below."
)


def form(*, expanded: bool) -> None:
    """Paths of one's own; mounted once they are asked for, as three uploaders take a while to draw."""
    case = state.current_case()
    with st.expander(
        "Open your own files", expanded, icon=":material/folder_open:", key="own_files", on_change="rerun"
    ) as place:
        if not place.open:
            return
        with st.form("own", border=False):
            st.caption("A path or hub:OWNER/NAME for each, or the files themselves.")
            known = case.specs if case else st.query_params
            named = {
                role: (st.text_input(label, known.get(role, ""), placeholder=PLACE, help=FORMS), _uploader(role, label))
                for role, label in (("base", "Base"), ("suspect", "Suspect"), ("control", "Control (optional)"))
            }
            pressed = st.form_submit_button("Open", type="primary", width="stretch")
        if pressed and (specs := components.attempt("Not opened", lambda _: _specs(named.values()))):
            base, suspect, control = specs
            state.choose_case(Case(base, suspect, control or None))
            st.rerun()


def _uploader(role: str, label: str) -> list[UploadedFile]:
    """Files of one model that the browser sends instead of a path."""
    return st.file_uploader(
        f"{label}: upload instead",
        type=[suffix.removeprefix(".") for suffix in (*WEIGHTS, ".json")],
        accept_multiple_files=True,
        max_upload_size=upload.MAX_BYTES // 2**20,
        key=f"upload-{role}",
        label_visibility="collapsed",
    )


def _specs(given: Iterable[tuple[str, list[UploadedFile]]]) -> list[str]:
    """The three names, uploads kept under theirs; ProjLensError where one of them names nothing."""
    specs = [
        upload.store([(file.name, file.getvalue()) for file in files]) if files else spec.strip()
        for spec, files in given
    ]
    if not all(specs[:2]):
        raise InvalidInput("Give both a base and a suspect.")
    for spec in filter(None, specs):
        resolve(spec)
    return specs
