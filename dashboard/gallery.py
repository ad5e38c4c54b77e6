"""The gallery: all samples and uploads as large thumbnails, to filter, sort, pick out and delete."""

import streamlit as st

from dashboard import components, resources, state
from projlens_core.inputs.images import NamedImage

SIDE = 220  # px of a thumbnail
AT_ONCE = 24  # thumbnails of a page
ALL, SAMPLES, UPLOADS, PICKED = "All", "Samples", "Uploads", "Selected"
SORTS = {
    "Newest first": None,
    "Name": lambda image: image.name.lower(),
    "Largest first": lambda image: -image.pixels.width * image.pixels.height,
}


def button() -> None:
    """What opens the gallery."""
    if st.button("Gallery", icon=":material/photo_library:", type="tertiary", help="Large, to filter, select, delete"):
        _gallery()


def shown(images: list[NamedImage], uploads: set[str], word: str, which: str, sort: str) -> list[NamedImage]:
    """The images that the filter lets through, sorted; uploads: their content hashes. images: oldest first."""
    keep = {
        ALL: lambda image: True,
        SAMPLES: lambda image: image.sha256 not in uploads,
        UPLOADS: lambda image: image.sha256 in uploads,
        PICKED: lambda image: image.sha256 in state.selected(),
    }[which]
    found = [image for image in reversed(images) if keep(image) and word.strip().lower() in image.name.lower()]
    key = SORTS[sort]
    return found if key is None else sorted(found, key=key)


@st.dialog("Images", width="large", on_dismiss="rerun")
def _gallery() -> None:
    uploads = state.uploads()
    everything = list(state.everything(resources.samples()).values())
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        word = st.text_input("Name contains", key="gallery_word", width=180)
        which = st.segmented_control("Which", [ALL, SAMPLES, UPLOADS, PICKED], default=ALL, required=True)
        sort = st.selectbox("Sorted by", list(SORTS), key="gallery_sort", width=170)
    found = shown(everything, set(uploads), word, which or ALL, sort)
    _actions(found)
    pages = max(1, -(-len(found) // AT_ONCE))
    page = st.pagination(pages, key=f"gallery_page {pages}") if pages > 1 else 1
    here = found[(page - 1) * AT_ONCE : page * AT_ONCE]
    grid = st.grid(4, min_column_width=150, gap="small")
    for image, uri in zip(here, resources.thumbnails(here, SIDE), strict=True):
        with grid.cell().container(gap="xsmall", border=True):
            st.image(uri, width="stretch", alt=image.name)
            key = f"select {image.sha256}"
            st.session_state[key] = image.sha256 in state.selected()
            st.checkbox(components.plain(image.name), key=key, on_change=_toggle, args=(key, image.sha256))
            with st.container(horizontal=True, gap="small", vertical_alignment="center"):
                st.caption(f"{image.pixels.width} × {image.pixels.height} px")
                if st.button("Show", key=f"show {image.sha256}", type="tertiary", help="Put it on screen"):
                    state.choose_image(image.sha256)
                    st.rerun()
    if not here:
        st.caption("No image matches.")


def _actions(found: list[NamedImage]) -> None:
    """What can be done with those that are selected."""
    picked = state.selected()
    mine = [key for key in picked if key in state.uploads()]
    st.caption(
        f"{len(found)} images here, {len(picked)} selected: pages about several images offer them as a set, under "
        "Images."
    )
    with st.container(horizontal=True, gap="small"):
        st.button("Select all here", on_click=picked.update, args=([image.sha256 for image in found],))
        st.button("Select none", on_click=picked.clear, disabled=not picked)
        st.button(
            f"Delete {len(mine)} uploads",
            icon=":material/delete:",
            on_click=state.delete_uploads,
            args=(mine,),
            disabled=not mine,
            key="gallery_delete",
            help="Samples stay.",
        )
        if gone := state.deleted():
            st.button(
                f"Undo: bring back {len(gone)}", icon=":material/undo:", on_click=state.undo_delete, key="gallery_undo"
            )


def _toggle(key: str, image: str) -> None:
    """Callback of a checkbox."""
    picked = state.selected()
    (picked.add if st.session_state[key] else picked.discard)(image)
