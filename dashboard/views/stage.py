"""The Demo page's stage: image, heatmap and answers at one dose of the trigger, and the curves over all of them."""

import html
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import altair as alt
import numpy as np
import streamlit as st
from PIL import Image, ImageOps
from streamlit.delta_generator import DeltaGenerator

from dashboard import answer_texts, components, demo_results, links, resources, state
from dashboard.demo_results import ASKED, PERCENTS, ROLES, STEP, Asking
from dashboard.pickers import Choice
from dashboard.views.stage_words import DoseReading, hit, sentence
from projlens_core.activations.dose_shift import DoseShifts
from projlens_core.activations.layout import TokenMap
from projlens_core.analyses.activation import token_charts as tokens
from projlens_core.analyses.exhibit import Chart, with_minus
from projlens_core.behaviour.flip import Flip, flip
from projlens_core.cases.case import Case
from projlens_core.charts import dose as charts
from projlens_core.charts import overlays
from projlens_core.errors import ProjLensError
from projlens_core.inputs.doses import DoseAxis

if TYPE_CHECKING:
    from streamlit.elements.lib.grid_container import GridContainer

DOSE = "dose"  # the slider's key: % of the trigger
LARGE = "1.45rem"  # of answers and of the guide: to be read from the back of a room
STEPS = {0: "1 · None", 50: "2 · More", 100: "3 · Full"}
GAIN = "push, embedding units"
# A thumb that was dragged keeps the keyboard, and PageDown would move it instead of the guide: the mouse lets it go.
RELEASE = """<script>
if (!window.projlensReleasesSliders) {
  window.projlensReleasesSliders = true
  document.addEventListener("pointerup", () => setTimeout(() => {
    const focused = document.activeElement
    if (focused && focused.closest('[data-testid="stSlider"]')) focused.blur()
  }))
}
</script>"""
READING = (
    "How to read this: each block is a patch, coloured by how much further than without the trigger the suspect pushes "
    "it along the drift direction. Below, the same push, the norm and the answers over the dose of the trigger; a "
    "filled dot is an answer {hit}, the shaded band is where the suspect's flips."
)


@dataclass
class DoseResults:
    """What is known so far of one image under one trigger."""

    found: DoseShifts
    where: str | None  # the patch that is pushed furthest, in words; None if the trigger covers the whole image
    target: str
    said: dict[int, dict[str, str]] = field(default_factory=dict)  # % of the trigger → role → answer

    def pushes(self, role: str) -> np.ndarray:
        """(doses,): of the patch that the trigger pushes furthest if it is a patch itself, else their mean."""
        return self._of(self.found.gains(role))

    @property
    def norms(self) -> np.ndarray:
        """(doses,) ‖E_b‖ of the same."""
        return self._of(self.found.norms)

    def _of(self, values: np.ndarray) -> np.ndarray:
        return values[:, self.found.peak] if self.where else values.mean(axis=1)

    @property
    def flipped(self) -> Flip | None:
        """Where the suspect's answer flips."""
        found = hit(self.said, self.target)
        return flip({percent / 100: found("suspect", answers["suspect"]) for percent, answers in self.said.items()})

    @property
    def next(self) -> int | None:
        """The dose to ask next: the whole curve first, then closer to the flip; None if nothing is left."""
        for percent in ASKED:
            if percent not in self.said:
                return percent
        flipped = self.flipped
        if flipped is None or flipped.below is None:
            return None
        low, high = round(100 * flipped.below), round(100 * flipped.at)
        return (low + high) // 2 // STEP * STEP if high - low > STEP else None


@st.fragment
def play(case: Case, choice: Choice, axis: DoseAxis, question: str, target: str) -> None:
    """Draw the stage; it alone is drawn anew when the slider moves."""
    links.option(DOSE, PERCENTS, 0)  # before the buttons that move it, too
    columns = st.grid(4, min_column_width=150, gap="small")  # so that a telephone has image and map side by side
    seen, heat, words = columns.cell(), columns.cell(), columns.cell(column_span=2)
    with words.container(gap="small"):
        _steps()
        guide, voices = st.empty(), st.container()
    percent = _slider(axis)
    live = resources.zoo_entry(case.suspect) is not None or st.toggle(
        "Ask the model at every dose",
        key=links.flag("live"),
        persist_state="session",
        help="A large model takes minutes for the whole curve; the demo models are always asked.",
    )
    state.write_address()  # when the slider moves, nothing else does
    curves = [cell.empty() for cell in _cells(st.grid(3, min_column_width=260, gap="small"), 3)]
    below = st.empty()
    st.caption(READING.format(hit="that holds the target" if target else "that differs from the one without"))
    try:
        shown = demo_results.images(choice, axis)
        image = shown[PERCENTS.index(percent)]
        seen.image(image, width="stretch", alt=f"The image with {percent} % of the trigger")
        with heat, components.progress() as progress:
            opened = resources.opened(case, progress)
            tower = resources.vision(case, progress)
            found = demo_results.shifts(opened, tower, choice, axis, progress)
        with heat:
            layout = tower.layout(image.size)
            _heatmap(found, layout, image, percent)
        asking = Asking(opened, question)
        where = _named_patch(found.peak, layout) if choice.trigger.local else None
        known = DoseResults(found, where, target, asking.known(dict(zip(PERCENTS, shown, strict=True))))
        _draw(known, percent, guide, curves)
        if not live and percent not in known.said:
            return
        with voices:
            known.said[percent] = _listen(asking, image, target)
        _draw(known, percent, guide, curves)
        while live and (wanted := known.next) is not None:
            text = f"Asking at {wanted} % of the trigger; the curve fills in as answers arrive"

            def report(stage: str, done: int, total: int, text: str = text) -> None:
                below.caption(text)  # each step is shown, so that a move of the slider interrupts it at once

            known.said[wanted] = asking.ask(shown[PERCENTS.index(wanted)], report)
            _draw(known, percent, guide, curves)
        below.empty()
    except ProjLensError as error:
        components.failure(error, "The demonstration stops here")


def _cells(grid: "GridContainer", count: int) -> list[DeltaGenerator]:
    return [grid.cell() for _ in range(count)]


def _steps() -> None:
    """The three steps of the guide; PageUp and PageDown are what a presenter's remote control sends."""
    percent = st.session_state.setdefault(DOSE, 0)
    at = percent if percent in (0, 100) else 50
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        for step, name in STEPS.items():
            st.button(
                name, type="primary" if step == at else "secondary", on_click=_to, args=(step,), key=f"step {step}"
            )
        stops = list(STEPS)
        place = stops.index(at)
        for name, key, to in (("Back", "pageup", max(0, place - 1)), ("Next", "pagedown", min(2, place + 1))):
            st.button(name, type="tertiary", shortcut=key, on_click=_to, args=(stops[to],), key=f"guide {name}")


def _slider(axis: DoseAxis) -> int:
    """% of the trigger."""
    percent = st.session_state[DOSE]
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        st.button("Less", shortcut="left", on_click=_to, args=(max(0, percent - STEP),), key="less")
        st.slider(f"{axis.capitalize()} of the trigger", 0, 100, step=STEP, format="%d %%", key=DOSE)
        st.button("More", shortcut="right", on_click=_to, args=(min(100, percent + STEP),), key="more")
        st.html(RELEASE, width="content", unsafe_allow_javascript=True)
    return st.session_state[DOSE]


def _to(percent: int) -> None:
    st.session_state[DOSE] = percent


def _heatmap(shifts: DoseShifts, layout: TokenMap, image: Image.Image, percent: int) -> None:
    """How much further each patch is pushed than without the trigger; all doses share one scale."""
    gains = shifts.gains("suspect")
    limit = float(np.abs(gains).max()) or 1.0
    here = gains[PERCENTS.index(percent)]
    title = with_minus(f"Push: largest {here.max():+.2f}")  # as much as a telephone's map has room for
    said = f"Push of each patch by {percent} % of the trigger"
    if layout.grid is None:
        chart: alt.TopLevelMixin = tokens.difference_by_token(title, here, limit, GAIN)
    else:
        rows, columns = layout.grid
        values = here[: rows * columns].reshape(rows, columns)
        uri = resources.uri(ImageOps.grayscale(image))
        chart = overlays.heatmap(title, uri, values, limit, True, GAIN, within=layout.within)
    components.draw(Chart("dose-heatmap", chart, READING, said))


def _named_patch(token: int, layout: TokenMap) -> str:
    if layout.grid is None:
        return f"image token {token + 1}"
    row, column = divmod(token, layout.grid[1])
    return f"row {row + 1}, column {column + 1}"


def _listen(asking: Asking, image: Image.Image, target: str) -> dict[str, str]:
    """Base's and suspect's answers side by side, word by word where they are given now."""
    slots = {}
    for role, cell in zip(ROLES, _cells(st.grid(2, min_column_width=200, gap="small", border=True), 2), strict=True):
        with cell:
            st.badge(role, color="gray" if role == "base" else "violet")
            slots[role] = st.empty()
            slots[role].html(answer_texts.marked("…", "", LARGE))

    def heard(role: str, text: str) -> None:
        slots[role].html(answer_texts.marked(text or "…", target, LARGE))

    with components.progress() as progress:
        said = asking.ask(image, progress, heard)
    for role, text in said.items():
        slots[role].html(answer_texts.marked(text or "(the model says nothing)", target, LARGE))
    return said


def _draw(known: DoseResults, percent: int, guide: DeltaGenerator, curves: list[DeltaGenerator]) -> None:
    """The guide's sentence, and the curves as far as they were asked."""
    at = PERCENTS.index(percent)
    roles = list(known.found.shifts)
    pushes = {role: known.pushes(role) for role in roles}
    what = f"its most pushed patch ({known.where})" if known.where else "the image's patches"
    text = DoseReading(
        percent, what, {role: float(line[at]) for role, line in pushes.items()}, known.said, known.target, known.flipped
    )
    guide.html(f'<div style="font-size:{LARGE};line-height:1.35;min-height:2.7em">{html.escape(sentence(text))}</div>')
    missing = [p for p in ASKED if p not in known.said and known.said]  # unasked, all that was measured is drawn
    until = PERCENTS.index(missing[0]) if missing else len(PERCENTS)
    drawn = sorted({*range(until), at})
    doses, here = [PERCENTS[i] / 100 for i in drawn], percent / 100
    of = "most pushed patch" if known.where else "mean of the patches"
    norms = {"base": known.norms}
    push, norm = (
        charts.curve(
            f"{name}, {of}", {r: line[drawn] for r, line in lines.items()}, doses, here, unit, known.flipped, ends
        )
        for name, unit, lines in (
            ("Push along v₀", "push", pushes),
            ("Norm ‖E_b‖", "base's norm", norms),
        )
        for ends in [(min(map(min, lines.values())), max(map(max, lines.values())))]
    )
    found = hit(known.said, known.target)
    said = {
        role: {p / 100: (answers[role], found(role, answers[role])) for p, answers in sorted(known.said.items())}
        for role in ROLES
    }
    voices = charts.answers("Answer", said, here, known.flipped, "target" if known.target else "differs")
    for slot, name, chart in zip(curves, ("push", "norm", "answer"), (push, norm, voices), strict=True):
        components.draw(
            Chart(f"dose-{name}", chart, READING, f"{name.capitalize()} over the dose of the trigger"), slot
        )
