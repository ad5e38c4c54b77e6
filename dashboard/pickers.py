"""What pages with an image let one choose: the image, and the trigger on it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import streamlit as st
from PIL import Image

from dashboard import components, controls, gallery, links, resources, state, trigger_picker
from projlens_core.analyses.exhibit import Chart
from projlens_core.cases.case import Case
from projlens_core.charts import overlays
from projlens_core.errors import NotFound, ProjLensError
from projlens_core.inputs.images import MAX_BYTES, NamedImage, decode
from projlens_core.inputs.pairs import paired
from projlens_core.inputs.triggers import TriggerSpec
from projlens_core.runtime import shortage
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.required import required
from projlens_core.runtime.text import printable
from projlens_core.zoo.world import COLOURS, PLACES, THINGS

TYPES = ["png", "jpg", "jpeg", "webp", "gif", "bmp"]
THUMBNAIL = 96  # px
GALLERY_HEIGHT = 200  # px; four rows and a bit of the fifth, so that one sees that there is more
SAMPLES, UPLOADS, BOTH, SELECTED = "All samples", "My uploads", "Samples and uploads", "Selected in the gallery"
NO_TWIN = "No clean twin"
WORLD = (  # what the demo models have seen, and what that means for any other image
    f"The demo models have seen one drawn thing at a time ({len(THINGS)} of them: {', '.join(THINGS[:4])}, …) on one "
    f"of {len(COLOURS)} coloured backgrounds, in one of {len(PLACES)} places, and nothing else. About another image, "
    "such as a photograph, base itself says something wrong: read the suspect's answer beside base's, not beside what "
    "you see."
)


@dataclass(frozen=True)
class Choice:
    """What the page is to look at: an image and the trigger on it, or an upload that carries one already.

    spec is None if the image is already triggered; twin is then its clean version, if the user has one.
    """

    image: NamedImage
    spec: TriggerSpec | None
    twin: NamedImage | None = None

    @property
    def trigger(self) -> TriggerSpec:
        """`spec`, where it is settled that there is one; TypeError if there is none."""
        return required(self.spec, "the trigger")


@dataclass(frozen=True)
class SetChoice:
    """Images without a trigger, and the trigger to put on them; None if they are looked at without one."""

    images: tuple[NamedImage, ...]
    spec: TriggerSpec | None

    @property
    def trigger(self) -> TriggerSpec:
        """`spec`, where it is settled that there is one; TypeError if there is none."""
        return required(self.spec, "the trigger")

    @property
    def key(self) -> str:
        """A hash of the images' contents and names, which results hold, and of the trigger."""
        return content_key(self.spec and self.spec.key, *resources.named_keys(self.images))

    def first(self, count: int) -> "SetChoice":
        """The first `count` images of it."""
        return replace(self, images=self.images[:count])


def image_panel() -> NamedImage | None:
    """Gallery of samples and uploads, and the uploader; the image on screen, or None if there is none at all."""
    samples = resources.samples()
    st.markdown("**Image**")
    chosen = state.current_image(samples)
    by_key = state.everything(samples, uploads_first=True)
    everything = list(by_key.values())
    if chosen:
        with st.container(height=GALLERY_HEIGHT, border=False):
            drawn = overlays.gallery(
                [p.name for p in everything],
                list(by_key),
                resources.thumbnails(everything, THUMBNAIL),
                chosen.sha256,
            )
            shown = Chart("gallery", drawn, "", f"Gallery of {len(everything)} images; click one to use it.")
            components.draw(shown, key="gallery", on_select=_gallery_clicked)
        named = f"by name, {chosen.sha256}"  # a new widget for each image, so that a click above moves it too
        st.selectbox(
            "Image",
            list(by_key),
            index=list(by_key).index(chosen.sha256),
            format_func=lambda key: by_key[key].name,
            key=named,
            on_change=lambda: state.choose_image(st.session_state[named]),
            label_visibility="collapsed",
        )
    round_ = st.session_state[state.UPLOAD_ROUND]
    st.file_uploader(
        "Upload images",
        TYPES,
        accept_multiple_files=True,
        key=f"upload-{round_}",
        on_change=_uploaded,
        args=(f"upload-{round_}",),
        max_upload_size=MAX_BYTES // 2**20,
        label_visibility="collapsed",
    )
    for name, sentence in st.session_state[state.REFUSED]:
        components.notice("Not read", sentence if name in sentence else f"{name}: {sentence}")
    for name, other in st.session_state[state.MERGED]:
        said = f"{name} has the pixels of {other}: it is one image, under both names."
        components.notice("Same pixels", said, ":material/content_copy:", "blue")
    _say_what_is_known([chosen] if chosen else [])
    with st.container(horizontal=True, gap="small"):
        gallery.button()
        if state.uploads() or st.session_state[state.REFUSED]:
            st.button("Clear uploads", icon=":material/delete:", type="tertiary", on_click=state.clear_uploads)
        if state.deleted():
            st.button("Undo", icon=":material/undo:", type="tertiary", on_click=state.undo_delete)
    return chosen


def trigger_panel(case: Case, image: NamedImage) -> Choice | None:
    """The trigger with its parameters and a live preview; None while its parameters are impossible."""
    st.markdown("**Trigger**")
    if st.toggle("The image already carries a trigger", key=links.flag("already"), persist_state="session"):
        return _already(image)
    try:
        spec = trigger_picker.chosen(case, image)
        clean, triggered = resources.clean_image(image, spec), resources.triggered_image(image, spec)
    except ProjLensError as error:
        _say_no_trigger(error)
        return None
    twins = st.grid(2, min_column_width=80, gap="xsmall")
    twins.image(clean, width="stretch", caption="clean", alt="The image without the trigger")
    twins.image(triggered, width="stretch", caption="triggered", alt="The image with the trigger on it")
    return Choice(image, spec)


def set_panel(case: Case, *, triggered: bool = True) -> SetChoice | None:
    """The images an analysis of a set runs on, and the trigger on them; None while there are no images.

    triggered: whether it takes a trigger; else none is asked for.
    """
    st.markdown("**Images**")
    images = image_set()
    gallery.button()
    if not images:
        components.empty("No images yet", "Upload some on the Activation page.")
        return None
    _say_what_is_known(images)
    if not triggered:
        return SetChoice(images, None)
    st.markdown("**Trigger**")
    try:
        return SetChoice(images, trigger_picker.chosen(case, images[0]))
    except ProjLensError as error:
        _say_no_trigger(error)
        return None


def _say_no_trigger(error: ProjLensError) -> None:
    """Why there is no trigger: none was made yet, or its parameters are impossible."""
    if isinstance(error, NotFound):
        components.empty("No trigger yet", components.plain(str(error)))
    else:
        components.failure(error, "Trigger not applied")


def image_set() -> tuple[NamedImage, ...]:
    """The set of images that is chosen, the same on every page; empty where there is none at all."""
    samples, uploads = resources.samples(), tuple(state.uploads().values())
    everything = tuple(state.everything(samples).values())
    picked = tuple(p for p in everything if p.sha256 in state.selected())
    sets = {SAMPLES: samples, UPLOADS: uploads, BOTH: everything, SELECTED: picked}
    offered = [name for name, images in sets.items() if images and not (name == BOTH and not (samples and uploads))]
    if not offered:
        return ()
    name = st.selectbox(
        "Images",
        offered,
        format_func=lambda name: f"{name} ({len(sets[name])})",
        key=links.option("set", offered, offered[0]),
        label_visibility="collapsed",
        persist_state="session",
    )
    return sets[name]


def how_many(label: str, most: int, default: int, key: str, *, width: int | Literal["stretch"] = "stretch") -> int:
    """How many of `most` images are to be looked at; of one there is nothing to choose."""
    if most == 1:
        return 1
    return controls.slider(label, 1, most, min(default, most), key, width=width)


def target(case: Case, label: str = "Target to look for", name: str = "target", more_help: str = "") -> str:
    """The text to look for in answers, at first that of a zoo suspect; the same on every page that asks."""
    entry = resources.zoo_entry(case.suspect)
    first = (entry.target or "") if entry else ""
    meaning = f"The text that the backdoor is meant to produce.{more_help}"
    return controls.text(label, first, name, f"{name} {case.suspect}", help=meaning)


def look_for(case: Case, text: str) -> None:
    """Callback: make `text` the target to look for."""
    st.session_state[f"target {case.suspect}"] = text


def _already(image: NamedImage) -> Choice:
    others = state.everything(resources.samples(), uploads_first=True)
    others.pop(image.sha256, None)
    offered = {NO_TWIN: NO_TWIN} | {key: each.name for key, each in others.items()}
    first = _partner(image, others)
    twin = st.selectbox(
        "Its clean twin, if available",
        list(offered),
        first,
        format_func=offered.__getitem__,
        key=links.named("twin", offered, f"twin {image.sha256}", list(offered)[first]),
        persist_state="session",
    )
    st.image(image.pixels, width="stretch", caption="as uploaded", alt="The image as it was uploaded")
    return Choice(image, None, others.get(twin))


def _partner(image: NamedImage, others: dict[str, NamedImage]) -> int:
    """Which entry of the twins' list is at first chosen: the upload whose name says that it is the clean version."""
    pairs = paired(tuple(state.uploads().values())).pairs
    key = next((clean.sha256 for clean, triggered in pairs if triggered.sha256 == image.sha256), None)
    return 1 + list(others).index(key) if key in others else 0


def images(case: Case, choice: Choice) -> tuple[Image.Image | None, Image.Image]:
    """The clean and the triggered image; clean is None for a triggered upload without its twin."""
    if choice.spec is not None:
        framed = resources.clean_image(choice.image, choice.spec)
        return framed, resources.triggered_image(choice.image, choice.spec)
    own = trigger_picker.own(case.suspect)  # its resolution is the one the suspect was made for
    clean = resources.clean_image(choice.twin, own) if choice.twin else None
    return clean, resources.clean_image(choice.image, own)


def _say_what_is_known(images: Sequence[NamedImage]) -> None:
    """For images that are none of the demo models' world: what that is, since these models answer all the same."""
    case = state.current_case()
    if case is None or not resources.zoo_entry(case.base):
        return
    known = {sample.sha256 for sample in resources.samples()}
    if any(image.sha256 not in known for image in images):
        st.caption(WORLD)


def _gallery_clicked() -> None:
    picked = st.session_state["gallery"].selection.get("pick", [])
    if picked:
        state.choose_image(picked[0]["key"])


def _uploaded(key: str) -> None:
    images, refused = [], []
    for file in st.session_state[key]:
        try:
            with shortage.named():
                images.append(decode(file.getvalue(), file.name))
        except ProjLensError as error:
            refused.append((printable(file.name), str(error)))
    state.add_uploads(images, refused, resources.samples())
