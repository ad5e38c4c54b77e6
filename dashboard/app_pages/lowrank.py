"""Low-rank lab: how few directions carry the backdoor?"""

from contextlib import closing
from functools import partial
from itertools import zip_longest
from typing import NamedTuple

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard import answer_texts, components, cost, links, lowrank_results, pages, pickers, resources, state
from dashboard.controls import details, switch
from dashboard.lowrank_results import Grids, WantedGrid
from dashboard.page import case_under, stoppable
from dashboard.pickers import SetChoice
from dashboard.questions import in_turn
from projlens_core.analyses.exhibit import Chart
from projlens_core.analyses.lowrank import charts
from projlens_core.analyses.lowrank import exhibit as exhibits
from projlens_core.behaviour.lowrank import BIASES, CHOICES, MODES, Biases, Edit
from projlens_core.behaviour.templates import notes
from projlens_core.cases.case import OpenedCase
from projlens_core.cases.whose import BOTH

RANKS = (1, 3, 5, 16)  # on the demo models from no success to all of it
MOST_RANK = 16
MOST_RANKS = 8  # a grid's side
IMAGES = 10
VIEWS = ("Move k", "Control's grid", "All cells")
MOVING = (
    "How to read this: whole answers of the edited projector at the chosen k, with the target marked; the curve is "
    "the logit of the target's first token where each answer begins."
)


def page() -> None:
    """Draw the page."""
    case = case_under(pages.of("lowrank"))
    if case is None:
        return
    main, edits, sets, details = components.layout()
    with sets:
        choice = pickers.set_panel(case)
    with edits:
        edit, ranks = _edit()
    with main:
        prompts, target = in_turn(case, "lowrank_question")
        if choice is None:
            components.no_set()
            return
        if not target:
            components.empty("No target yet", "Enter the text to look for; without it, success cannot be counted.")
            return
        if not ranks:
            components.empty("No ranks yet", "Choose at least one k.")
            return
        opened = components.attempt("The case cannot be opened", partial(resources.opened, case))
        if opened is None:
            return
        wanted = _wanted(opened, edit, ranks, choice, prompts, target)
        components.parts(resources.whose(lowrank_results.experiment(case), BOTH))
        found = _grids(opened, wanted)
    with details:
        _details(opened, wanted, found)


def _edit() -> tuple[Edit, tuple[int, ...]]:
    """What is done with the components, and the ks of the grid."""
    st.markdown("**Edit**")
    mode = switch(
        "Edit",
        MODES,
        "lowrank_mode",
        "inject",
        help="Inject: base with some components of ΔW added. Ablate: the suspect with some components removed.",
    )
    choice = st.selectbox(
        "Components chosen by k",
        list(CHOICES),
        format_func=lambda name: CHOICES[name].capitalize(),
        key=links.option("lowrank_components", CHOICES, next(iter(CHOICES))),
        persist_state="session",
    )
    theirs: Biases = "base" if mode == "inject" else "suspect"
    biases = switch(
        "Biases of",
        {whose: whose.capitalize() for whose in BIASES},
        "lowrank_biases",
        theirs,
        key=f"lowrank_biases_{mode}",
        kept=True,
        help="A bias is not a matrix and has no components: it is taken whole, from base or from the suspect.",
    )
    ranks = st.multiselect(
        "k of each ΔW",
        range(MOST_RANK + 1),
        RANKS,
        max_selections=MOST_RANKS,
        key=links.several("lowrank_ranks", range(MOST_RANK + 1), RANKS, most=MOST_RANKS),
        persist_state="session",
    )
    return Edit(mode, choice, biases), tuple(sorted(ranks))


def _wanted(
    opened: OpenedCase, edit: Edit, ranks: tuple[int, ...], choice: SetChoice, prompts: tuple[str, ...], target: str
) -> WantedGrid:
    """How many images and whose ΔW: the bar over the grids."""
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        count = pickers.how_many("Images per cell", len(choice.images), IMAGES, "lowrank_images", width=260)
        control = opened.control is not None and st.toggle(
            "Also the control's grid",
            key=links.flag("lowrank_control"),
            persist_state="session",
            help="The same edits with the control's ΔW: twice the cells.",
        )
    return WantedGrid(edit, ranks, choice.first(count), prompts, target, control)


def _grids(opened: OpenedCase, wanted: WantedGrid) -> Grids:
    """The page's main part: the grids so far, and the buttons that fill them."""
    found = lowrank_results.known(opened, wanted)
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        run = st.button("Fill the grid", type="primary", icon=":material/play_arrow:")
        stop, left = st.empty(), st.empty()
    left.caption(_cost(opened, wanted, found))
    waiting = st.container()
    cards, grid = st.empty(), st.grid(3, min_column_width=200, gap="small")
    places = Places(cards, [grid.cell().empty() for _ in range(3)], st.empty())
    _draw(places, opened, wanted, found)
    if run:
        with (
            waiting,
            stoppable(stop, "The grid was not finished") as progress,
            closing(lowrank_results.filled(opened, wanted, progress)) as cells,
        ):
            for found in cells:
                left.caption(_cost(opened, wanted, found))
                _draw(places, opened, wanted, found)
    elif state.stopped():
        waiting.caption("Stopped. Finished cells are kept, here and on disk; filling resumes where it stopped.")
    return found


def _cost(opened: OpenedCase, wanted: WantedGrid, grids: Grids) -> str:
    """How much is still to be asked, and how long that takes."""
    left = wanted.left(opened, grids)
    if not left:
        return "All cells are measured."
    return f"{left} cells and whole models × {wanted.each} answers: {cost.in_words(left * wanted.each)}."


class Places(NamedTuple):
    """Where headline numbers, heatmaps and notes stand. Each is one element or has as many as before: what a shorter
    one leaves over of a longer one would stay on the page until the run ends."""

    cards: DeltaGenerator
    panels: list[DeltaGenerator]
    said: DeltaGenerator


def _draw(places: Places, opened: OpenedCase, wanted: WantedGrid, grids: Grids) -> None:
    """Headline numbers, heatmaps and notes in place of those before."""
    headlines = exhibits.metrics(grids.suspect, grids.control)
    if headlines:
        with places.cards.container():
            components.metrics(list(headlines), control=opened.control is not None)
    entry = resources.zoo_entry(opened.case.suspect)
    mode = entry.mode if entry and entry.target == wanted.target else None
    for panel, chart in zip_longest(places.panels, exhibits.grids(grids.suspect, mode)):
        if chart is None:
            panel.empty()
            continue
        with panel.container():
            components.chart(chart)
    notes = exhibits.notes(grids.suspect, grids.control)
    places.said.caption("\n\n".join(map(components.plain, notes)))


def _details(opened: OpenedCase, wanted: WantedGrid, grids: Grids) -> None:
    """One image's answers while k moves, the control's grid, the table."""
    views = [view for view in VIEWS if view != "Control's grid" or grids.control is not None]
    view = details(views, "lowrank_view")
    if view == "Move k":
        _moving(opened, wanted, grids)
    elif view == "All cells":
        components.table(exhibits.table(grids.suspect, grids.control))
    elif grids.control is not None:
        components.charts(exhibits.grids(grids.control, role="control"), 3, 200)


def _moving(opened: OpenedCase, wanted: WantedGrid, grids: Grids) -> None:
    """The answers to one image at every k, asked once; the slider only chooses which are shown."""
    by_key = {p.sha256: p for p in wanted.choice.images}
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        key = st.selectbox(
            "Image",
            list(by_key),
            format_func=lambda key: by_key[key].name,
            key=links.named("lowrank_image", {key: image.name for key, image in by_key.items()}),
            persist_state="session",
        )
        asked = st.button("Ask at every k", icon=":material/send:")
    one = SetChoice((by_key[key],), wanted.choice.spec)
    prompt = wanted.prompts[list(by_key).index(key) % len(wanted.prompts)]
    steps = partial(lowrank_results.steps, opened, wanted.edit, wanted.ranks, one, prompt, wanted.target, ask=asked)
    found = components.attempt("The model could not be asked", steps)
    if found is None:
        plain = components.plain(prompt)
        st.caption(f"Press Ask to have the model answer “{plain}” with each k of the grid, in every ΔW at once.")
        return
    k = wanted.ranks[-1]
    if len(wanted.ranks) > 1:
        k = st.select_slider(
            "k, of every ΔW",
            wanted.ranks,
            k,
            key=links.option("lowrank_k", wanted.ranks, k, f"lowrank_k {wanted.ranks}"),
        )
    step = next(step for step in found if step.k == k)
    answers, curve = st.columns([3, 2], gap="medium")
    with answers:
        st.text(f"“{prompt}”")
        spec = wanted.choice.trigger
        for condition, image in (
            ("clean", resources.clean_image(by_key[key], spec)),
            ("triggered", resources.triggered_image(by_key[key], spec)),
        ):
            shown, said = st.columns([1, 4], gap="small", wrap=False)
            shown.image(image, width="stretch", alt=f"The {condition} image")
            with said:
                st.badge(condition, color="blue" if condition == "clean" else "orange")
                answer_texts.answer(getattr(step, condition), wanted.target)
    with curve:
        logits = {name: [getattr(s, f"{name}_logit") for s in found] for name in ("clean", "triggered")}
        drawn = charts.along_k("Target logit of this image", wanted.ranks, logits, k)
        components.draw(Chart("along-k", drawn, MOVING, "The target logit of this image by k, clean and triggered."))
    st.caption(MOVING)
    if grids.suspect.template is None:  # else it stands among the grid's own notes
        components.sentences(notes([step.template]))


page()
