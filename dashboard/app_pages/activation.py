"""Activation: where and how far does the trigger push the image along the backdoor direction?"""

from dataclasses import dataclass

import numpy as np
import streamlit as st
from PIL import Image, ImageOps

from dashboard import components, figures, pages, pickers, resources, results, state
from dashboard.figures import UNIT
from projlens_core.charts import overlays, shift
from projlens_core.errors import ProjLensError
from projlens_core.evidence.study import Reference, Subject, tokens_of

DIRECTIONS = {"universal": "All samples", "image": "This image", "pair": "This pair"}
MEASURES = {"absolute": "Absolute", "signed": "Signed"}
CONDITIONS = ("clean", "triggered")
ROLES = {"suspect": "Suspect", "control": "Control"}
VIEWS = ("Distribution", "Norm and shift", "All numbers")


def page() -> None:
    """Draw the page."""
    components.header(pages.ACTIVATION)
    case = state.current_case()
    if case is None:
        components.no_case()
        return
    picture, pictures, triggers, details = components.layout()
    with pictures:
        chosen = pickers.picture_panel()
    with triggers:
        choice = pickers.trigger_panel(case, chosen) if chosen else None
    with picture:
        components.case_line(case, resources.zoo())
        if chosen is None:
            components.empty("No picture yet", "Upload one to see where the suspect pushes it.")
            return
        if choice is None:
            return
        headlines = st.container()
        view = _view(choice, has_control=case.control is not None)
        try:
            with components.progress() as progress:
                opened = resources.opened(case, progress)
                tower = resources.vision(case)
                clean, triggered = pickers.images(case, choice)
                found = results.subject(opened, tower, clean, triggered, choice.spec, view.direction, progress)
                judged = results.sample_reference(opened, tower, choice.spec, view.direction, progress)
        except ProjLensError as error:
            components.failure(error, "This picture cannot be analysed")
            return
        if judged is not None:
            with headlines:
                cards = figures.activation_headlines(judged, found, view.signed)
                components.metrics(cards, control=opened.control is not None)
        _heatmaps(found, clean, triggered, view)
    if judged is not None:
        with details:
            _details(judged, found, view.signed)


@dataclass(frozen=True)
class View:
    """How the shift is looked at."""

    role: str
    direction: str
    signed: bool

    @property
    def measure(self) -> str:
        """The measured quantity, for axes and legends."""
        return "shift ΔE·v₀" if self.signed else "shift |ΔE·v₀|"


def _view(choice: pickers.Choice, *, has_control: bool) -> View:
    """The bar over the picture: under which projector, along which direction, with or without the sign."""
    alone = choice.spec is None and choice.twin is None
    roles = ROLES if has_control else {"suspect": ROLES["suspect"]}
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        role = st.segmented_control(
            "Projector",
            list(roles),
            default="suspect",
            required=True,
            format_func=ROLES.get,
            key="projector",
            bind="query-params",
            help="Suspect and control are drawn on the same scale.",
        )
        direction = st.segmented_control(
            "Drift direction v₀ of",
            [name for name in DIRECTIONS if not (alone and name == "pair")],
            default="universal",
            required=True,
            format_func=DIRECTIONS.get,
            key="direction",
            bind="query-params",
            help="All samples: one direction for every picture. This image: its own, from the clean picture alone. "
            "This pair: its own, from the clean and the triggered picture together.",
        )
        measure = st.segmented_control(
            "Measure",
            list(MEASURES),
            default="absolute",
            required=True,
            format_func=MEASURES.get,
            key="measure",
            bind="query-params",
            help="Absolute: |ΔE·v₀|, how far. Signed: ΔE·v₀, also which way.",
        )
    return View(role, direction, measure == "signed")


def _heatmaps(found: dict[str, Subject], clean: Image.Image | None, triggered: Image.Image, view: View) -> None:
    """The page's picture: shift per patch over the clean and the triggered image, and their difference."""
    shown = {role: {c: _measured(getattr(s, c), view.signed) for c in CONDITIONS} for role, s in found.items()}
    limit = _limit(*(values for by_condition in shown.values() for values in by_condition.values()))
    panels = st.grid(3, min_column_width=170, gap="small")
    for condition, image in zip(CONDITIONS, (clean, triggered), strict=True):
        values = shown[view.role][condition]
        if values is not None:
            title = f"{condition.capitalize()}, mean {figures.short(values.mean())}"
            figure = overlays.heatmap(
                title, resources.uri(ImageOps.grayscale(image)), values, limit, view.signed, view.measure
            )
            panels.altair_chart(figure, width="stretch", alt=f"Heatmap of the shift over the {condition} image.")
    legend = overlays.legend(f"{view.measure}, {UNIT}", limit, view.signed)
    if clean is None:
        with panels.cell():
            components.empty("No clean twin", "Choose the same picture without its trigger to see the difference.")
        with panels.cell(column_span="all"):
            st.altair_chart(legend, width="stretch", alt="Colour scale of the heatmap.")
    else:
        differences = {role: by["triggered"] - by["clean"] for role, by in shown.items()}
        spread = _limit(*differences.values())
        values = differences[view.role]
        figure = overlays.heatmap(
            f"Triggered − clean, mean {figures.with_sign(values.mean())}",
            resources.uri(ImageOps.grayscale(triggered)),
            values,
            spread,
            True,
            "difference",
        )
        panels.altair_chart(figure, width="stretch", alt="Heatmap of the difference, triggered minus clean.")
        with panels.cell(column_span=2):
            st.altair_chart(legend, width="stretch", alt="Colour scale of clean and triggered.")
        panels.altair_chart(
            overlays.legend(f"difference, {UNIT}", spread, True), width="stretch", alt="Colour scale of the difference."
        )
    st.caption(
        "How to read this: each block is one patch of the image, coloured by how far the projector pushes it along the "
        "drift direction; clean and triggered, suspect and control share one scale."
    )
    st.page_link("app_pages/response.py", label="Ask the model about this picture", icon=":material/forum:")


def _measured(values: np.ndarray | None, signed: bool) -> np.ndarray | None:
    return values if signed or values is None else np.abs(values)


def _limit(*maps: np.ndarray | None) -> float:
    """The largest magnitude in any of the maps; 1 if all are zero, so that a scale exists."""
    return max((float(np.abs(m).max()) for m in maps if m is not None), default=0.0) or 1.0


def _details(judged: Reference, found: dict[str, Subject], signed: bool) -> None:
    """Distributions, the norm–shift relation and all numbers, behind a switch."""
    view = st.segmented_control(
        "Details", VIEWS, default=VIEWS[0], required=True, key="activation_view", label_visibility="collapsed"
    )
    if view == VIEWS[0]:
        _distribution(judged, found, signed)
    elif view == VIEWS[1]:
        _norm_shift(judged)
    else:
        st.dataframe(figures.numbers(judged), hide_index=True)
        st.caption(
            "How to read this: intervals are 95 %. The control is shown along its own drift direction and along the "
            "suspect's; a direction that belongs to a backdoor is one on which the control hardly moves."
        )


def _distribution(judged: Reference, found: dict[str, Subject], signed: bool) -> None:
    shifts, marks = {}, {}
    for role, analysis in judged.by_role.items():
        conditions = {c: getattr(analysis, c) for c in CONDITIONS if getattr(analysis, c) is not None}
        shifts[role] = {c: _measured(tokens_of(of)[1], signed) for c, of in conditions.items()}
        own = {c: _measured(getattr(found[role], c), signed) for c in CONDITIONS}
        marks[role] = {c: float(values.mean()) for c, values in own.items() if values is not None}
    everything = np.concatenate([values for by_condition in shifts.values() for values in by_condition.values()])
    low, high = float(everything.min()), float(everything.max())
    domain = (low, high) if low < high else (low - 1, high + 1)
    columns = st.grid(2, min_column_width=280, gap="small")
    measure = "shift ΔE·v₀" if signed else "shift |ΔE·v₀|"
    for role in shifts:
        columns.altair_chart(
            shift.distribution(f"{ROLES[role]}: all patches", shifts[role], marks[role], domain, measure),
            width="stretch",
            alt=f"Distribution of the shift of all patches, clean and triggered, {role}.",
        )
    st.caption(
        f"How to read this: bars are all patches of the {judged.images} samples, lines the mean of the picture above. "
        "A backdoor moves the triggered bars away from the clean ones; the control shows how far honest training does."
    )


def _norm_shift(judged: Reference) -> None:
    columns = st.grid(2, min_column_width=280, gap="small")
    notes = []
    for role, analysis in judged.by_role.items():
        conditions = {c: getattr(analysis, c) for c in CONDITIONS if getattr(analysis, c) is not None}
        flat = {c: tokens_of(of) for c, of in conditions.items()}
        fits = {c: of.fit for c, of in conditions.items()}
        said = ", ".join(f"r {f.r:.2f} {c}" for c, f in fits.items() if f.note is None)
        columns.altair_chart(
            shift.norm_shift(
                f"{ROLES[role]}: {said or 'no fit'}",
                {c: x for c, (x, _) in flat.items()},
                {c: y for c, (_, y) in flat.items()},
                fits,
            ),
            width="stretch",
            alt=f"Shift of every token against the norm of its base embedding, {role}.",
        )
        notes += [f"{ROLES[role]}, {c}: {f.note}" for c, f in fits.items() if f.note]
    for note in notes:
        st.text(note)
    st.caption(
        "How to read this: one dot a patch. Where dots follow a rising line, a larger norm means a larger push: "
        f"so a trigger activates. Up to {shift.MAX_POINTS:,} dots a condition are drawn; lines fit all patches."
    )


page()
