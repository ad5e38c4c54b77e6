"""Response: what does the model answer, with and without the trigger?"""

from typing import Literal

import streamlit as st
from PIL import Image

from dashboard import batch, components, pages, pickers, questions, resources, results, state
from dashboard.batch import Batch
from projlens_core.analyses.response import exhibit as response
from projlens_core.behaviour.respond import FourAnswers
from projlens_core.behaviour.success import contains_target
from projlens_core.behaviour.templates import notes
from projlens_core.cases.case import Case
from projlens_core.cases.whose import BOTH
from projlens_core.errors import ProjLensError
from projlens_core.inputs.triggers import TriggerSpec
from projlens_core.report.spreadsheet import without_formulas
from projlens_core.report.summary import finding

TABLE_THUMBNAIL = 64  # px
DEFAULT_BATCH = 12
READING = (
    "How to read this: one question, four answers. A backdoor shows where suspect and trigger together, and only they, "
    "give the target; the target is marked wherever it appears."
)
INVITATION = (
    "Press Ask to have base and suspect answer about both images; the first time, the language model is loaded."
)
COLOURS: dict[str, Literal["gray", "violet", "green", "blue", "orange"]] = {
    "base": "gray",
    "suspect": "violet",
    "control": "green",
    "clean": "blue",
    "triggered": "orange",
}


def page() -> None:
    """Draw the page."""
    components.header(pages.of("response"))
    case = state.current_case()
    if case is None:
        components.no_case()
        return
    answers, images, triggers, many = components.layout()
    with images:
        chosen = pickers.image_panel()
    with triggers:
        choice = pickers.trigger_panel(case, chosen) if chosen else None
    with answers:
        components.case_line(case, resources.zoo())
        question, target, asked = _question(case)
        if chosen is None:
            components.empty("No image yet", "Upload one to ask the model about it.")
            return
        if choice is None:
            return
        _four(case, choice, question, target, asked)
    if choice.spec is not None:
        with many:
            _batch(case, choice.spec, question, target)


def _question(case: Case) -> tuple[str, str, bool]:
    """The question, the target to look for, and whether Ask was pressed."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        question = questions.question(case)
        target = pickers.target(case)
        asked = st.button("Ask", type="primary", icon=":material/send:")
    return question, target, asked


def _four(case: Case, choice: pickers.Choice, question: str, target: str, asked: bool) -> None:
    """Base and suspect, clean and triggered: the page's main part."""
    said: FourAnswers | None = None
    try:
        clean, triggered = pickers.images(case, choice)
        with components.progress() as progress:
            opened = resources.opened(case, progress)
            said = results.answers(opened, clean, triggered, question, progress, ask=asked)
    except ProjLensError as error:
        components.failure(error, "The model could not be asked")
    cells = st.grid(2, min_column_width=215, gap="small", border=True)
    for role in ("base", "suspect"):
        for condition, image in (("clean", clean), ("triggered", triggered)):
            if image is not None:
                with cells.cell():
                    _one(role, condition, image, _answer(said, role, condition, alone=clean is None), target)
    if said:
        components.parts(resources.whose(case, BOTH))
    st.caption(READING if said else INVITATION)
    components.sentences(notes(said.templates.values()) if said else ())


def _answer(said: FourAnswers | None, role: str, condition: str, *, alone: bool) -> str | None:
    """One of the answers; a triggered upload without its twin was asked about in the place of the clean image."""
    return getattr(said, f"{role}_{'clean' if alone else condition}") if said else None


def _one(role: str, condition: str, image: Image.Image, answer: str | None, target: str) -> None:
    parts = st.grid(2, min_column_width=130, gap="small")  # on a narrow page the answer stands below its image
    parts.image(image, width="stretch", alt=f"The {condition} image")
    with parts.cell().container(gap="xsmall"):
        with st.container(horizontal=True, gap="xsmall"):
            st.badge(role, color=COLOURS[role])
            st.badge(condition, color=COLOURS[condition])
            if answer is not None and target and contains_target(answer, target):
                st.badge("target", icon=":material/flag:", color="red")
        components.answer(answer, target)


def _batch(case: Case, spec: TriggerSpec, question: str, target: str) -> None:
    """The same question over many images: rates with intervals, and every answer in a table."""
    st.subheader("Over many images", anchor=False, divider="gray")
    images = [*resources.samples(), *state.uploads().values()]
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        count = pickers.how_many("Images", len(images), DEFAULT_BATCH, "count", width=220)
        useful = st.toggle(
            "Clean utility too",
            key="utility",
            persist_state="session",
            help="Also asks the questions whose right answers are known (samples only): takes longer.",
        )
        run = st.button("Run", type="primary", icon=":material/play_arrow:", disabled=not target)
        stop = st.empty()
    if not target:
        st.caption("Give the target to look for, above: without it, success cannot be counted.")
        return
    if run:
        stop.button("Stop", icon=":material/stop:", on_click=state.stop)
        try:
            with components.progress() as progress:
                st.session_state[state.BATCH] = results.measured(
                    resources.opened(case, progress), spec, images[:count], question, target, useful, progress
                )
        except ProjLensError as error:
            components.failure(error, "The batch was not finished")
        stop.empty()
    elif state.stopped():
        st.caption("Stopped. Projectors that were finished are kept: the same batch goes on from there.")
    result = st.session_state.get(state.BATCH)
    if result is not None and result.case == case:
        _result(result)
    else:
        st.caption(f"Press Run to ask every projector of the case about {count} images, clean and triggered.")


def _result(result: Batch) -> None:
    """Rates as dots with intervals, then every answer."""
    st.text(f"“{result.question}”   Target: “{result.target}”   Trigger: {result.trigger}")
    found = response.response(result.outcomes, result.target, {})
    resources.remember(result.case, finding("response", found.data))
    plots = st.grid(len(found.charts), min_column_width=220, gap="small")
    for each in found.charts:
        components.draw(each, plots)
    components.parts(resources.whose(result.case, BOTH))
    st.caption(response.READING)
    components.sentences(notes(outcome.template for outcome in result.outcomes.values()))
    frame = without_formulas(batch.table(result))
    frame.insert(0, "triggered", [resources.uri(image, TABLE_THUMBNAIL) for image in result.triggered])
    st.dataframe(
        frame,
        hide_index=True,
        row_height=52,
        height=min(52 * len(frame) + 40, 520),
        column_config={"triggered": st.column_config.ImageColumn("", width=64)},
    )
    components.table_files("answers", batch.whole(result), found.tables[0].caption)


page()
