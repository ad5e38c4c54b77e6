"""Response: what does the model answer, with and without the trigger?"""

from functools import partial

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard import batch, components, links, pages, pickers, questions, resources, results, state, trigger_picker
from dashboard.batch import Batch
from dashboard.page import case_under, stoppable
from dashboard.views import four
from projlens_core.analyses.exhibit import heading
from projlens_core.analyses.response import exhibit as response
from projlens_core.cases.case import Case
from projlens_core.cases.whose import BOTH
from projlens_core.inputs.pairs import NAMING, Pairs, paired
from projlens_core.inputs.triggers import TriggerSpec
from projlens_core.report.spreadsheet import for_screen
from projlens_core.report.summary import finding
from projlens_core.runtime.text import listed

TABLE_THUMBNAIL = 64  # px
DEFAULT_BATCH = 12
HEADINGS = {"picture": st.column_config.Column(heading("picture"))}


def page() -> None:
    """Draw the page."""
    case = case_under(pages.of("response"))
    if case is None:
        return
    answers, images, triggers, many = components.layout()
    with images:
        chosen = pickers.image_panel()
    with triggers:
        choice = pickers.trigger_panel(case, chosen) if chosen else None
    with answers:
        question, target, asked = _question(case)
        if chosen is None:
            components.empty("No image yet", "Upload one to ask the model about it.")
            return
        if choice is None:
            return
        four.draw(case, choice, question, target, asked)
    with many:
        _batch(case, choice.spec, question, target)


def _question(case: Case) -> tuple[str, str, bool]:
    """The question, the target to look for, and whether Ask was pressed."""
    fields = st.grid(2, min_column_width=components.COLUMN, gap="small", vertical_alignment="bottom")
    with fields.cell():
        question = questions.question(case)
    with fields.cell().container(horizontal=True, vertical_alignment="bottom", gap="small"):
        target = pickers.target(case)
        asked = st.button("Ask", type="primary", icon=":material/send:")
    return question, target, asked


def _batch(case: Case, spec: TriggerSpec | None, question: str, target: str) -> None:
    """The same question over many images: rates with intervals, and every answer in a table.

    Without a spec, over the uploads that are a clean and a triggered version of the same image.
    """
    st.subheader("Over many images", anchor=False, divider="gray")
    twins = paired(tuple(state.uploads().values()))
    if spec is None and not _said_pairs(twins):
        return
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        if spec is not None:
            with st.container(width=240):
                images = pickers.image_set()
        most = len(twins.pairs) if spec is None else len(images)
        count = pickers.how_many("Images", most, DEFAULT_BATCH, "count", width=220)
        useful = st.toggle(
            "Clean utility too",
            key=links.flag("utility"),
            persist_state="session",
            help="Also asks the questions whose right answers are known (samples only): takes longer.",
        )
        run = st.button("Run", type="primary", icon=":material/play_arrow:")
        stop = st.empty()
    if not target:
        st.caption("Without a target, answers that differ from base's about the same image are counted.")
    so_far = st.empty()
    if run:
        with stoppable(stop, "The batch was not finished") as progress:
            if spec is None:
                asked = results.given(twins.pairs[:count], trigger_picker.own(case.suspect))
            else:
                asked = results.stamped(images[:count], spec)
            st.session_state[state.BATCH] = results.measured(
                resources.opened(case, progress), asked, question, target or None, useful, progress,
                partial(_so_far, so_far),
            )  # fmt: skip
        so_far.empty()
    elif state.stopped():
        st.caption("Stopped. Finished projectors are kept; the same batch resumes where it stopped.")
    result = st.session_state.get(state.BATCH)
    if result is not None and result.case == case:
        _result(result)
    else:
        st.caption(f"Press Run to ask every projector of the case about {count} images, clean and triggered.")


def _said_pairs(twins: Pairs) -> bool:
    """Whether there are pairs among the uploads; says how many, and what has no partner."""
    st.caption(f"Pairs among the uploads: {len(twins.pairs)}. {NAMING}")
    if twins.alone:
        st.text(f"Without a partner: {listed(twins.alone)}")
    return bool(twins.pairs)


def _so_far(place: DeltaGenerator, result: Batch) -> None:
    """The answers of those projectors that were asked by now, until all were."""
    with place.container():
        st.caption(f"Asked so far: {', '.join(result.outcomes)}.")
        frame = for_screen(response.answers(result.outcomes, target=result.target).frame)
        st.dataframe(frame, hide_index=True, height=300, column_config=HEADINGS)


def _result(result: Batch) -> None:
    """Rates as dots with intervals, then every answer."""
    target = f"“{result.target}”" if result.target else "none"
    st.text(f"“{result.question}”   Target: {target}   Trigger: {result.trigger}")
    found = response.response(result.outcomes, result.target, {}, utility_asked=result.useful)
    resources.remember(result.case, finding("response", found.data))
    plots = st.grid(len(found.charts), min_column_width=220, gap="small")
    for each in found.charts:
        components.draw(each, plots)
    components.parts(resources.whose(result.case, BOTH))
    st.caption(found.charts[-1].caption)
    said_alone = found.data["said_alone"]
    if said_alone:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.text(f"“{said_alone['text']}”")
            st.button("Look for it", on_click=pickers.look_for, args=(result.case, said_alone["text"]))
    components.sentences(found.notes)
    answers = found.tables[0]
    frame = for_screen(answers.frame)
    frame.insert(0, "triggered", [resources.uri(image, TABLE_THUMBNAIL) for image in result.triggered])
    st.dataframe(
        frame,
        hide_index=True,
        row_height=52,
        height=min(52 * len(frame) + 40, 520),
        column_config=HEADINGS | {"triggered": st.column_config.ImageColumn("", width=64)},
    )
    components.table_files("answers", batch.whole(result, answers.frame), answers.caption)


page()
