"""Robustness: which changes of the trigger still work?"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial

import streamlit as st

from dashboard import components, links, pages, pickers, questions, resources, robustness_results, state
from dashboard.controls import details, switch
from dashboard.page import case_under, stoppable
from dashboard.robustness_results import WantedChanges
from projlens_core.analyses.robustness import exhibit as exhibits
from projlens_core.behaviour.robustness import TriedChange
from projlens_core.behaviour.templates import notes
from projlens_core.cases.case import OpenedCase
from projlens_core.cases.whose import BOTH
from projlens_core.errors import ProjLensError
from projlens_core.inputs.changes import AXES, LEVELS, ORIGINAL, Change, axes_of, changed, changes
from projlens_core.inputs.triggers import TriggerSpec

IMAGES = 16
ASKED = 8  # images whose answers are counted by default
WAYS = {"single": "One at a time", "crossed": "Two crossed"}
VIEWS = ("Separation", "Answers", "Images", "All numbers")


def page() -> None:
    """Draw the page."""
    case = case_under(pages.of("robustness"))
    if case is None:
        return
    main, levels, sets, details = components.layout()
    with sets:
        choice = pickers.set_panel(case)
    with levels:
        chosen, axes = _changes(choice.trigger) if choice else ((), None)
    with main:
        if choice is None:
            components.no_set()
            return
        if not chosen:
            components.empty("No changes yet", "Choose what to change about the trigger.")
            return
        try:
            with components.progress() as progress:
                opened = resources.opened(case, progress)
                resources.vision(case, progress)
        except ProjLensError as error:
            components.failure(error, "The case cannot be opened")
            return
        count = pickers.how_many("Images", len(choice.images), IMAGES, "robustness_images", width=260)
        wanted = WantedChanges(choice.first(count), chosen)
        found = _tried(opened, wanted, axes)
    if found:
        with details:
            _details(opened, wanted, found)


def _changes(spec: TriggerSpec) -> tuple[tuple[Change, ...], tuple[str, str] | None]:
    """What to change about the trigger; and which two axes are crossed, down and across, if two are."""
    st.markdown("**Changes**")
    offered = list(axes_of(spec))
    way = switch(
        "How",
        WAYS,
        "robustness_way",
        "single",
        help="One at a time: everything else stays as it was. Two crossed: every combination of two.",
    )
    if not spec.local:
        st.caption("This trigger covers the whole image: it has neither place nor size.")
    if way == "single":
        axes = st.pills(
            "Change",
            offered,
            selection_mode="multi",
            default=offered,
            format_func=lambda axis: AXES[axis].capitalize(),
            key=links.several("robustness_axes", offered, offered, f"robustness_axes {spec.local}"),
            persist_state="session",
        )
        return (changes(spec, {axis: LEVELS[axis] for axis in axes}) if axes else ()), None
    down = st.selectbox(
        "Down",
        offered,
        format_func=AXES.__getitem__,
        key=links.option("robustness_down", offered, offered[0], f"robustness_down {spec.local}"),
        persist_state="session",
    )
    others = [axis for axis in offered if axis != down]
    across = st.selectbox(
        "Across",
        others,
        format_func=AXES.__getitem__,
        key=links.option("robustness_across", others, others[0], f"robustness_across {down} {spec.local}"),
        persist_state="session",
    )
    return changes(spec, {down: LEVELS[down], across: LEVELS[across]}, crossed=True), (down, across)


def _tried(opened: OpenedCase, wanted: WantedChanges, axes: tuple[str, str] | None) -> tuple[TriedChange, ...]:
    """The page's main part: every change that was tried, and the buttons that try the rest."""
    found = robustness_results.known(opened, wanted)
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        run = st.button("Try the changes", type="primary", icon=":material/play_arrow:")
        stop, count = st.empty(), st.empty()
    count.caption(_count(wanted, found))
    if run:
        with (
            stoppable(stop, "The changes were not all tried") as progress,
            closing(robustness_results.tried(opened, wanted, progress)) as each,
        ):
            for _ in each:
                pass
        found = robustness_results.known(opened, wanted)
        count.caption(_count(wanted, found))
    elif state.stopped():
        st.caption("Stopped. Results so far are kept; the next run resumes where it stopped.")
    if not found:
        st.caption("Press Try to stamp each changed trigger on the images and see how far it still pushes them.")
        return ()
    components.metrics(list(exhibits.metrics(found, {})), control=opened.control is not None)
    if axes is None:
        charts = exhibits.charts_of(found)
        if charts:
            components.chart(charts[0])
    else:
        roles = ("suspect", *(("control",) if opened.control else ()))
        components.charts([exhibits.crossed(found, *axes, role) for role in roles], 2, 320)
    components.parts(resources.whose(opened.case))
    for note in exhibits.notes(found):
        st.text(note)
    return found


def _count(wanted: WantedChanges, tried: Sequence[TriedChange]) -> str:
    """How many of the changes were tried, and how."""
    return (
        f"{len(tried)} of {len(wanted.changes)} tried on {len(wanted.choice.images)} images, by shift: no "
        "language model is asked."
    )


def _details(opened: OpenedCase, wanted: WantedChanges, tried: tuple[TriedChange, ...]) -> None:
    """How well each change separates, answers to chosen ones, what the images look like, the table."""
    view = details(VIEWS, "robustness_view")
    if view == VIEWS[0]:
        charts = exhibits.charts_of(tried)
        if charts:
            components.chart(charts[1])
    elif view == VIEWS[1]:
        _answers(opened, wanted, tried)
    elif view == VIEWS[2]:
        _images(wanted)
    else:
        components.table(exhibits.table(tried, {}))


def _answers(opened: OpenedCase, wanted: WantedChanges, tried: tuple[TriedChange, ...]) -> None:
    """Attack success of chosen changes, asked of the language model."""
    by_label = {one.change.label: one.change for one in tried if one.pushes}
    weakest = min((one for one in tried if one.pushes), key=lambda one: one.pushes["suspect"].gain.mean, default=None)
    usual = dict.fromkeys([ORIGINAL.label, *([weakest.change.label] if weakest else [])])
    default = [label for label in usual if label in by_label]
    key = links.several("robustness_asked", by_label, default, between=";")  # labels hold commas
    chosen = st.multiselect("Changes to ask about", list(by_label), default, key=key, persist_state="session")
    prompts, target = questions.in_turn(opened.case, "robustness_question")
    left, right = st.columns([3, 1], vertical_alignment="bottom", gap="small")
    with left:
        count = pickers.how_many("Images to ask about", len(wanted.choice.images), ASKED, "robustness_n")
    if not target:
        st.caption("Enter the target to look for; without it, success cannot be counted.")
        return
    ask = right.button("Ask", icon=":material/send:", width="stretch", disabled=not chosen)
    few = replace(wanted, choice=wanted.choice.first(count))
    changes = [by_label[label] for label in chosen]
    scored = partial(robustness_results.scores, opened, few, changes, prompts, target, ask=ask)
    scores = components.attempt("The model could not be asked", scored)
    if scores is None:
        return
    roles = 2 if opened.control else 1
    if not scores:
        st.caption(f"Press Ask for {len(chosen) * count * roles} answers; finished changes are kept.")
        return
    components.table(exhibits.answers(scores))
    components.parts(resources.whose(opened.case, BOTH))
    components.sentences(notes(exhibits.templates(scores)))


def _images(wanted: WantedChanges) -> None:
    """The first image under every change."""
    first = wanted.choice.images[0]
    panels = st.grid(6, min_column_width=110, gap="small")
    for change in wanted.changes:
        with panels.cell():
            try:
                image = changed(resources.clean_image(first, wanted.choice.spec), wanted.choice.trigger, change)
            except ProjLensError as error:
                st.caption(f"{change.label}: {components.plain(str(error))}")
                continue
            st.image(image, width="stretch", caption=change.label, alt=f"The triggered image, {change.label}")
    st.caption(
        "How to read this: the first image with the trigger as it was tried, at the size that the tower is given."
    )


page()
