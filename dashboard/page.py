"""The one frame of a page about an analysis: guard → run → draw. A page's own module says what stands where."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import streamlit as st

from dashboard import components, pages, pickers, resources, state
from dashboard.models import Shelved
from dashboard.pickers import SetChoice
from projlens_core import analyses
from projlens_core.analyses.analysis import Analysis, Options
from projlens_core.analyses.context import AnalysisContext, AnalysisInputs
from projlens_core.analyses.exhibit import Exhibit
from projlens_core.cases.case import Case
from projlens_core.errors import ProjLensError
from projlens_core.inputs.images import ImageSet
from projlens_core.report.summary import finding
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.progress import Progress

KEPT = 8  # exhibits of each analysis
P = TypeVar("P")


def show(
    analysis: Analysis,
    panel: Callable[[], P],
    main: Callable[[Exhibit], None],
    details: Callable[[Exhibit, P], None],
    options: Callable[[P], Options] | None = None,
    inputs: Callable[[P], dict] | None = None,
) -> None:
    """The page of an analysis of a set of images.

    panel draws its own controls and returns what they say, image what answers its question, details what stands
    below; options makes the analysis's options out of the panel's, its defaults if None,
    inputs what else it works on, as AnalysisInputs has it.
    """
    components.header(pages.of(analysis.key))
    case = state.current_case()
    if case is None:
        components.no_case()
        return
    components.case_line(case, resources.zoo())
    above, images, controls, below = components.layout()
    with images:
        choice = pickers.set_panel(case, triggered="trigger" in analysis.takes)
    with controls:
        said = panel()
    with above:
        if choice is None:
            components.no_set()
            return
        ask = not analysis.on_request or asked(analysis.key)
        try:
            with _stages() as finished_stage, components.progress() as progress:
                wanted = options(said) if options else analysis.options()
                more = inputs(said) if inputs else {}
                exhibit = found(analysis, case, choice, wanted, progress, finished_stage, ask=ask, **more)
        except ProjLensError as error:
            components.failure(error, analysis.failure)
            return
        if exhibit is None:
            components.empty(
                "Not searched yet" if not state.stopped() else "Stopped", "This takes minutes; press Start to begin."
            )
            return
        components.metrics(list(exhibit.metrics), control=case.control is not None)
        main(exhibit)
    with below:
        details(exhibit, said)


def plain(key: str) -> None:
    """The page of an analysis that has no layout of its own: its charts, then its tables and notes."""

    def main(exhibit: Exhibit) -> None:
        for each in exhibit.charts:
            components.chart(each)

    def details(exhibit: Exhibit, _: None) -> None:
        for each in exhibit.tables:
            components.table(each)
        for note in exhibit.notes:
            st.text(note)

    show(analyses.find(key), lambda: None, main, details)


@contextmanager
def _stages() -> Iterator[Callable[[str, object], None]]:
    """What lists the stages of an analysis as they end, above its progress, until all of them are done."""
    slot, ended = st.empty(), []

    def finished(sentence: str, _: object) -> None:
        ended.append(f":material/check: {components.plain(sentence)}")
        slot.markdown("  \n".join(ended))

    try:
        yield finished
    finally:
        slot.empty()


def asked(key: str) -> bool:
    """Whether the button of what takes minutes, by its key, was pressed; next to it is one that stops it."""
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        pressed = st.button("Start", type="primary", icon=":material/play_arrow:", key=f"start {key}")
        if pressed:
            st.button("Stop", icon=":material/stop:", on_click=state.stop, key=f"stop {key}")
    return pressed


def found(
    analysis: Analysis,
    case: Case,
    choice: SetChoice,
    options: Options,
    progress: Progress,
    finished_stage: Callable[[str, object], None] = lambda sentence, result: None,
    *,
    ask: bool = True,
    **more: Any,
) -> Exhibit | None:
    """The exhibit of these images, kept by all that decides it; None if it is not there and `ask` is not set.

    finished_stage hears of each of its stages, more: what else it works on, as AnalysisInputs has it.
    """
    inputs = AnalysisInputs(case, ImageSet(choice.images, ()), spec=choice.spec, **more)
    context = AnalysisContext(inputs, Shelved(), progress)
    context.finished_stage = finished_stage
    decided = repr(analysis.settings(context, options)), repr(more)
    key = content_key(*decided, context.vision.key, resources.run_key(case, "suspect"), choice.key)
    kept = resources.shelf(analysis.key, KEPT)
    if not ask and key not in kept:
        return None
    exhibit = kept.get(key, lambda: analysis.run(context, options), progress)
    resources.remember(case, finding(analysis.key, exhibit.data))
    return exhibit
