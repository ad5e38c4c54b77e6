"""The one frame of a page about an analysis: guard → run → draw. A page's own module says what stands where."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard import components, pages, pickers, resources, state
from dashboard.pages import Page
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
R = TypeVar("R")


@dataclass(frozen=True)
class Request:
    """What a page asks for. finished_stage hears of each stage that ends; ask: compute it if it is not there."""

    case: Case
    choice: SetChoice
    progress: Progress
    finished_stage: Callable[[str, object], None] = lambda sentence, result: None
    ask: bool = True


def show(
    analysis: Analysis,
    panel: Callable[[], P],
    main: Callable[[Exhibit], None],
    details: Callable[[Exhibit, P], None],
    options: Callable[[P], Options] | None = None,
    inputs: Callable[[P], dict] | None = None,
) -> None:
    """The page of an analysis of a set of images.

    panel draws its own controls and returns what they say, main what answers the page's question, details what stands
    below; options makes the analysis's options out of the panel's, its defaults if None,
    inputs what else it works on, as AnalysisInputs has it.
    """

    def run(request: Request, settings: P) -> Exhibit | None:
        wanted = options(settings) if options else analysis.options()
        return exhibit_of(analysis, request, wanted, **(inputs(settings) if inputs else {}))

    def draw(exhibit: Exhibit, case: Case) -> None:
        components.metrics(list(exhibit.metrics), control=case.control is not None)
        main(exhibit)

    frame(
        pages.of(analysis.key),
        panel,
        run,
        draw,
        details,
        triggered="trigger" in analysis.takes,
        failure=analysis.failure,
        start=analysis.key if analysis.on_request else None,
    )


def frame(
    page: Page,
    panel: Callable[[], P],
    run: Callable[[Request, P], R | None],
    main: Callable[[R, Case], None],
    details: Callable[[R, P], None],
    *,
    triggered: bool,
    failure: str,
    start: str | None = None,
    not_yet: str = "Not searched yet",
) -> None:
    """Guard, run, draw: a page about a set of images, with a trigger on them if `triggered`.

    run makes what main and details draw of what is asked for and what the panel says; None: it is not there yet.
    failure: head of the panel for its errors. start: key of the button that begins what takes minutes, if it does;
    not_yet: what stands there before.
    """
    case = case_under(page)
    if case is None:
        return
    above, images, controls, below = components.layout()
    with images:
        choice = pickers.set_panel(case, triggered=triggered)
    with controls:
        settings = panel()
    with above:
        if choice is None:
            components.no_set()
            return
        ask = start is None or asked(start)
        try:
            with _stages() as finished_stage, components.progress() as progress:
                result = run(Request(case, choice, progress, finished_stage, ask), settings)
        except ProjLensError as error:
            components.failure(error, failure)
            return
        if result is None:
            components.empty("Stopped" if state.stopped() else not_yet, "This takes minutes; press Start to begin.")
            return
        main(result, case)
    with below:
        details(result, settings)


def case_under(page: Page) -> Case | None:
    """The case that is open, under the page's head; None, where none is, after saying so."""
    components.header(page)
    case = state.current_case()
    if case is None:
        components.no_case()
    else:
        components.case_line(case, resources.zoo())
    return case


def plain(key: str) -> None:
    """The page of an analysis that has no layout of its own: its charts, then its tables and notes."""

    def main(exhibit: Exhibit) -> None:
        for each in exhibit.charts:
            components.chart(each)

    show(analyses.find(key), lambda: None, main, lambda exhibit, _: components.numbers(exhibit))


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


@contextmanager
def stoppable(place: DeltaGenerator, what: str) -> Iterator[Progress]:
    """Work that a button in `place` stops; where it fails, which ends the block, a panel headed `what` says so."""
    place.button("Stop", icon=":material/stop:", on_click=state.stop)
    try:
        with components.progress() as progress:
            yield progress
    except ProjLensError as error:
        components.failure(error, what)
    place.empty()


def exhibit_of(analysis: Analysis, request: Request, options: Options, **more: Any) -> Exhibit | None:
    """The exhibit of these images, kept by all that decides it; None if it is not there and not asked for.

    more: what else it works on, as AnalysisInputs has it.
    """
    from dashboard.models import Shelved  # only here: it loads what runs models, for which other pages need not wait

    case, choice = request.case, request.choice
    inputs = AnalysisInputs(case, ImageSet(choice.images, ()), spec=choice.spec, **more)
    context = AnalysisContext(inputs, Shelved(), request.progress)
    context.finished_stage = request.finished_stage
    projectors = (weights.sha256 for weights in context.projectors.values())
    # not by `settings`, which count the images that the trigger fits on and stamp all of them for it
    decided = repr(analysis.deciding(options)), repr(more), case, *projectors
    key = content_key(*decided, context.vision.key, resources.run_key(case, "suspect"), choice.key)
    kept = resources.shelf(analysis.key, KEPT)
    if not request.ask and key not in kept:
        return None
    exhibit = kept.get(key, lambda: analysis.run(context, options), request.progress)
    resources.remember(case, finding(analysis.key, exhibit.data))
    return exhibit
