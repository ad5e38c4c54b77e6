"""Activation: where and how far does the trigger push the image along the backdoor direction?"""

import altair as alt
import numpy as np
import streamlit as st
from PIL import Image

from dashboard import charts, components, figures, overlays, pickers, resources, state
from dashboard.figures import UNIT
from dashboard.study import Reference, Subject, subject, tokens_of
from projlens_core.errors import ProjLensError

DIRECTIONS = {"universal": "All samples", "image": "This image", "pair": "This pair"}
MEASURES = {"absolute": "Absolute", "signed": "Signed"}
ROLES = {"suspect": "Suspect", "control": "Control"}
VIEWS = ("Distribution", "Norm and shift", "All numbers")


def page() -> None:
    """Draw the page."""
    components.header("Activation", "Where and how far does the trigger push the image along the backdoor direction?")
    case = state.current_case()
    if case is None:
        components.no_case()
        return
    grid = st.grid(4, min_column_width=220, gap="small")
    picture = grid.cell(column_span=3, row_span=3)
    with grid.cell().container(border=True):
        chosen = pickers.picture_panel()
    with grid.cell().container(border=True):
        choice = pickers.trigger_panel(case, chosen, already_offered=True) if chosen else None
    with grid.cell().container(border=True):
        direction, signed = _view(choice)
    with picture:
        components.case_line(case, resources.zoo())
        if chosen is None:
            components.empty("No picture yet", "Upload one to see where the suspect pushes it.")
            return
        if choice is None:
            return
        try:
            with components.progress() as progress:
                opened = resources.opened(case, progress)
                tower = resources.vision(case)
                judged = None
                if resources.samples():
                    judged = resources.sample_reference(opened, tower, choice.spec, direction, progress)
                clean, triggered = pickers.images(case, choice)
                found = subject(opened, tower, clean, triggered, direction, judged, progress)
        except ProjLensError as error:
            components.failure(error, "This picture cannot be analysed")
            return
        if judged is not None:
            components.metrics(figures.activation_headlines(judged, found), control=opened.control is not None)
        _heatmaps(found, clean, triggered, signed)
    _details(judged, found, signed)


def _view(choice: pickers.Choice | None) -> tuple[str, bool]:
    """Along which direction, and with or without its sign."""
    st.markdown("**View**")
    alone = choice is not None and choice.spec is None and choice.twin is None
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
    return direction, measure == "signed"


def _heatmaps(found: dict[str, Subject], clean: Image.Image | None, triggered: Image.Image, signed: bool) -> None:
    """The page's picture: shift per patch over the clean and the triggered image, and their difference."""
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.markdown("**How far each patch is pushed along the drift direction** (ΔE·v₀)")
        role = st.segmented_control(
            "Projector",
            list(found),
            default="suspect",
            required=True,
            format_func=ROLES.get,
            key="projector",
            bind="query-params",
            label_visibility="collapsed",
        )
    shown = found[role]
    maps = {name: [_measured(getattr(s, name), signed) for s in found.values()] for name in ("clean", "triggered")}
    limit = _limit(*maps["clean"], *maps["triggered"])  # one scale for both images and both projectors
    measure = "shift ΔE·v₀" if signed else "|shift| |ΔE·v₀|"
    panels = st.grid(3, min_column_width=170, gap="small")
    if clean is not None:
        panels.altair_chart(
            _heat("Clean", clean, shown.clean, limit, signed, measure), width="stretch", alt=_alt("clean")
        )
    panels.altair_chart(
        _heat("Triggered", triggered, shown.triggered, limit, signed, measure), width="stretch", alt=_alt("triggered")
    )
    if clean is None:
        with panels.cell():
            components.empty("No clean twin", "Choose the same picture without its trigger to see the difference.")
        with panels.cell(column_span="all"):
            st.altair_chart(overlays.legend(f"{measure} ({UNIT})", limit, signed), width="stretch")
    else:
        differences = [_measured(s.triggered, signed) - _measured(s.clean, signed) for s in found.values()]
        spread = _limit(*differences)
        difference = differences[list(found).index(role)]
        panels.altair_chart(
            overlays.heatmap(
                f"Triggered − clean, mean {difference.mean():+.3g}",
                resources.uri(triggered),
                difference,
                spread,
                True,
                "difference",
            ),
            width="stretch",
            alt=_alt("triggered minus clean"),
        )
        with panels.cell(column_span=2):
            st.altair_chart(overlays.legend(f"{measure} ({UNIT})", limit, signed), width="stretch")
        panels.altair_chart(overlays.legend(f"difference ({UNIT})", spread, True), width="stretch")
    st.caption(
        "How to read this: each block is one patch of the image, coloured by how far the projector pushes it along the "
        "drift direction; clean and triggered, suspect and control share one scale."
    )


def _heat(title: str, image: Image.Image, values: np.ndarray, limit: float, signed: bool, measure: str) -> alt.Chart:
    values = _measured(values, signed)
    return overlays.heatmap(f"{title}, mean {values.mean():.3g}", resources.uri(image), values, limit, signed, measure)


def _alt(what: str) -> str:
    return f"Heatmap of the shift along the drift direction over the image, {what}."


def _measured(values: np.ndarray | None, signed: bool) -> np.ndarray | None:
    return values if signed or values is None else np.abs(values)


def _limit(*maps: np.ndarray | None) -> float:
    """The largest magnitude in any of the maps; 1 if all are zero, so that a scale exists."""
    return max((float(np.abs(m).max()) for m in maps if m is not None), default=0.0) or 1.0


def _details(judged: Reference | None, found: dict[str, Subject], signed: bool) -> None:
    """Distributions, the norm–shift relation and all numbers, behind a switch."""
    if judged is None:
        return
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
            "Intervals are 95 %. The control is shown along its own drift direction and along the suspect's: a direction "
            "that means something only in the suspect is one the control hardly moves on."
        )


def _distribution(judged: Reference, found: dict[str, Subject], signed: bool) -> None:
    shifts, marks = {}, {}
    for role, analysis in judged.by_role.items():
        for condition in ("clean", "triggered"):
            of = getattr(analysis, condition)
            if of is not None:
                shifts[role, condition] = _measured(tokens_of(of)[1], signed)
            own = getattr(found[role], condition)
            if own is not None:
                marks[role, condition] = float(_measured(own, signed).mean())
    components.chart(
        charts.distribution(shifts, marks, "shift ΔE·v₀" if signed else "|shift| |ΔE·v₀|"),
        f"How to read this: bars are all patches of the {judged.images} samples, lines the mean of the picture above; a "
        "backdoor moves the triggered bars away from the clean ones, and the control shows how far honest training does.",
        alt_text="Distribution of shift magnitudes, clean and triggered, suspect and control.",
    )


def _norm_shift(judged: Reference) -> None:
    columns = st.grid(2, min_column_width=280, gap="small")
    notes = []
    for role, analysis in judged.by_role.items():
        conditions = {c: getattr(analysis, c) for c in ("clean", "triggered") if getattr(analysis, c) is not None}
        flat = {c: tokens_of(of) for c, of in conditions.items()}
        fits = {c: of.fit for c, of in conditions.items()}
        said = ", ".join(f"r {f.r:.2f} {c}" for c, f in fits.items() if f.note is None)
        columns.altair_chart(
            charts.norm_shift(
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
        "How to read this: one dot a token; where the dots follow a rising line, a larger norm means a larger push, which "
        f"is how a trigger activates. At most {charts.MAX_POINTS:,} dots a condition are drawn, the lines fit all tokens."
    )


page()
