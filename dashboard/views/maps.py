"""The Activation page's main part: maps or bars of one image's shift, and the numbers of the patch that was clicked."""

from functools import partial

import numpy as np
import streamlit as st
from PIL import Image, ImageOps

from dashboard import components, resources, state
from dashboard.controls import slider
from dashboard.pickers import Choice
from projlens_core.analyses.activation import exhibit as activation
from projlens_core.analyses.activation import numbers
from projlens_core.analyses.activation.measure import ImageShift
from projlens_core.charts import overlays
from projlens_core.inputs.triggers import patch_box


def heatmaps(
    by_role: dict[str, ImageShift],
    clean: Image.Image | None,
    triggered: Image.Image,
    role: str,
    signed: bool,
    outline: overlays.Box | None = None,
) -> None:
    """Shift per patch over the clean and the triggered image under one projector, their difference, one patch."""
    on_grid = by_role[role].within is not None
    panels = st.grid(3 if on_grid else 1, min_column_width=170, gap="small")
    shares = _bar(clean is not None and clean.size == triggered.size) if on_grid else None
    opacity, before = shares or (overlays.OPACITY, 0.0)
    shown = triggered
    if before and clean is not None:
        shown = overlays.wiped(clean.convert("RGB"), triggered.convert("RGB"), before)
    images = {"clean": clean, "triggered": shown}
    uris = {c: resources.uri(ImageOps.grayscale(image)) for c, image in images.items() if image is not None}
    tokens = _map(by_role[role]).size
    chosen = state.current_patch(tokens)
    drawn = activation.heatmaps(by_role, uris, role, signed, chosen, opacity, outline)
    for map_ in drawn:
        key = f"{map_.name} {chosen}"  # a new widget for each choice: the patch clicked last can be clicked again
        components.draw(map_, panels, key=key, on_select=lambda key=key: clicked(key, "patch", tokens))
    if clean is None:
        with panels.cell():
            components.empty("No clean twin", "Choose the same image without its trigger to see the difference.")
    _patch(by_role, role, chosen)
    st.caption(drawn[0].caption)


def _bar(both: bool) -> tuple[float, float]:
    """Sliders for the opacity of the blocks and, of both images, up to where the map shows the one before; 0 to 1."""
    first = round(100 * overlays.OPACITY)
    with st.container(horizontal=True, gap="medium"):
        meaning = "How much the blocks cover; at 0 % the images are seen as they are."
        percentage = partial(slider, format="%d %%", width=260)
        percent = percentage("Heatmap over image", 0, 100, first, "opacity", step=4, help=meaning)
        before = 0
        if both:
            meaning = (
                "How much of the triggered map, from the left, shows the image without the trigger; the blocks stay. "
                "With the keyboard: Tab to the slider, then the arrow keys."
            )
            before = percentage("Before | after", 0, 100, 0, "before", step=5, help=meaning)
    return percent / 100, before / 100


def outline(choice: Choice) -> tuple[float, float, float, float] | None:
    """Where the trigger's patch lies, as shares of the framed image's sides; None for one of the whole image."""
    box = patch_box(choice.image.pixels, choice.spec) if choice.spec is not None else None
    if box is None:
        return None
    x, y, size = box
    side = resources.clean_image(choice.image, choice.spec).width
    return x / side, y / side, (x + size) / side, (y + size) / side


def clicked(key: str, parameter: str, tokens: int) -> None:
    """Callback of a chart that has a selection of tokens: the one clicked becomes the chosen patch."""
    picked = st.session_state[key].selection.get(parameter, [])
    if picked:
        state.choose_patch(int(picked[0]["token"]), tokens)


def _patch(by_role: dict[str, ImageShift], role: str, chosen: int | None) -> None:
    """The chosen patch in one line: where it is, its numbers, and the other projector's shift there."""
    what, tokens = ("patch", "bar")[by_role[role].within is None], _map(by_role[role]).size
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        st.number_input(
            f"{what.capitalize()}, 0 for none", 0, tokens, 0, key=state.patch_key(tokens), persist_state="session",
            width=150, help="Counted from 1, row by row from the top left.",
        )  # fmt: skip
        if chosen is None:
            st.caption(
                f"Click a {what} or give its number to read what was measured there and to find it in *Norm and shift*."
            )
            return
    row, column = divmod(chosen, _map(by_role[role]).shape[1])
    place = f"Patch, row {row + 1}, column {column + 1}" if by_role[role].within else f"Image token {chosen + 1}"
    facts = numbers.patch(by_role[role], chosen)
    facts += [
        (f"{other}'s shift", numbers.patch(subject, chosen)[0][1])
        for other, subject in by_role.items()
        if other != role
    ]
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.badge(place, icon=":material/ads_click:", color="blue")
        for what, said in facts:
            with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", width="content"):
                st.caption(what)
                st.text(said)


def _map(subject: ImageShift) -> np.ndarray:
    """The triggered or, where there is none, the clean image's patches (rows, cols)."""
    return list(subject.maps().values())[-1]
