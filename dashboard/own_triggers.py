"""The triggers of a user's own in the picker: from an image, painted, from a file. Kept for the session, as specs."""

from collections.abc import Callable

import streamlit as st

from dashboard import resources, state
from dashboard.painter import painter
from projlens_core.errors import NotFound, ProjLensError
from projlens_core.inputs import own_triggers
from projlens_core.inputs.images import NamedImage
from projlens_core.inputs.triggers import PRESETS, TriggerSpec
from projlens_core.runtime import shortage

LOGO, PAINTED, FILE = "An image of your own", "Paint one", "A trigger from a file"
IMAGES = ["png", "jpg", "jpeg", "webp"]
LINK = (
    "A link to this page does not hold this trigger: save it below as JSON, which every page and command takes, and "
    "send that along."
)


def chosen(name: str, resolution: int, on: NamedImage | None) -> TriggerSpec:
    """The trigger of this name, with what makes it; NotFound, with what to do, until there is one.

    resolution: of what is made here, in px. on: the image to paint on, else the first sample.
    """
    if name == LOGO:
        _uploader("Your image", IMAGES, lambda files: _logo(files, resolution), LOGO)
    elif name == PAINTED:
        _paint(resolution, on)
    else:
        _uploader("A trigger's JSON file, and the image it names", ["json", *IMAGES], own_triggers.from_files, FILE)
    if refused := st.session_state[state.TRIGGER_REFUSED].get(name):
        st.text(refused)
    made = st.session_state[state.MADE_TRIGGERS].get(name)
    if made is None:
        raise NotFound(WANTED[name])
    st.caption(LINK)
    return made


WANTED = {
    LOGO: f"Choose an image for the trigger: {', '.join(IMAGES).upper()}.",
    PAINTED: "Paint at least one cell, then press Put it on.",
    FILE: "Choose a trigger's JSON file.",
}


def _logo(files: dict[str, bytes], resolution: int) -> TriggerSpec:
    name, data = next(iter(files.items()))
    return own_triggers.logo(data, name, resolution)


def _uploader(label: str, types: list[str], make: Callable[[dict[str, bytes]], TriggerSpec], name: str) -> None:
    """An uploader whose files become a trigger as they come; the session keeps it where the uploader is empty again."""
    key = f"trigger files {name}"
    st.file_uploader(
        label,
        types,
        accept_multiple_files=name == FILE,
        key=key,
        max_upload_size=own_triggers.MAX_BYTES // 2**20,
        on_change=lambda: _made(key, make, name),
    )


def _made(key: str, make: Callable[[dict[str, bytes]], TriggerSpec], name: str) -> None:
    """Callback of an uploader."""
    given = st.session_state[key]
    files = {file.name: file.getvalue() for file in (given if isinstance(given, list) else [given]) if file}
    if files:
        _keep(name, lambda: make(files))


def _paint(resolution: int, on: NamedImage | None) -> None:
    image = on or next(iter(resources.samples()), None)
    made = st.session_state[state.MADE_TRIGGERS].get(PAINTED)
    shown = own_triggers.on_grid(made) if made else None
    base = PRESETS["Solid patch, centre"]  # for its frame alone
    uri = resources.uri(resources.clean_image(image, base)) if image else None
    painter(uri, shown or "", lambda cells: _keep(PAINTED, lambda: own_triggers.painting(cells, resolution)))


def _keep(name: str, make: Callable[[], TriggerSpec | None]) -> None:
    """Callback: keep the trigger, or the sentence that says why there is none; what was made before stays."""
    refused = st.session_state[state.TRIGGER_REFUSED]
    refused.pop(name, None)
    try:
        with shortage.named():
            made = make()
    except ProjLensError as error:
        refused[name] = str(error)
        return
    if made is None:
        st.session_state[state.MADE_TRIGGERS].pop(name, None)
    else:
        st.session_state[state.MADE_TRIGGERS][name] = made
