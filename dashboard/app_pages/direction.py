"""Direction: which words does the backdoor direction point to? Of the language model only the output head is read."""

from dataclasses import dataclass

import streamlit as st

from dashboard import components, pages, pickers, resources, results, state
from dashboard.pickers import SetChoice
from projlens_core.activations.head import LanguageHead
from projlens_core.activations.lens import DEPTH, lens, lens_null
from projlens_core.activations.towers import Towers, joined
from projlens_core.activations.vocabulary import Vocabulary
from projlens_core.analyses.exhibit import Chart, Exhibit
from projlens_core.cases.case import Case, OpenedCase
from projlens_core.cases.models import read_language
from projlens_core.errors import ProjLensError
from projlens_core.exhibits import lens as exhibits
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.progress import Progress
from projlens_core.weights.own_parts import HEAD, TOWER

SIGNS = {"plus": "+v₀", "minus": "−v₀"}
ON = {"triggered": "Triggered", "clean": "Clean", "both": "Both"}
SHIFTS = {"raw": "Raw", "centred": "Centred"}
VIEWS = ("Against chance", "Nearest words", "All ranks")
SEED = 0
READ = (TOWER, HEAD)  # the parts that it reads with


@dataclass(frozen=True)
class Reading:
    """How the direction is read: of which images' shift, centred or not, through the final norm or not."""

    on: str
    centred: bool
    normed: bool
    target: str


def page() -> None:
    """Draw the page."""
    components.header(pages.DIRECTION)
    case = state.current_case()
    if case is None:
        components.no_case()
        return
    picture, pictures, controls, details = components.layout()
    with pictures:
        choice = pickers.set_panel(case)
    with controls:
        reading = _reading(case)
    with picture:
        components.case_line(case, resources.zoo())
        if choice is None:
            components.no_set()
            return
        sign = st.segmented_control(
            "Direction",
            list(SIGNS),
            default="plus",
            required=True,
            format_func=SIGNS.get,
            key="sign",
            bind="query-params",
            help="+v₀ is where the suspect pushes images on average; −v₀ is what it takes away.",
        )
        try:
            with components.progress() as progress:
                opened = resources.opened(case, progress)
                found = _found(opened, resources.vision(case, progress), choice, reading, progress)
        except ProjLensError as error:
            components.failure(error, "The direction cannot be read")
            return
        components.metrics(list(found.metrics), control=opened.control is not None)
        components.parts(resources.whose(case, READ))
        _side_by_side([chart for chart in found.charts if chart.name.endswith(f"-{sign}") and "words" in chart.name])
        for note in found.notes:
            st.text(note)
    with details:
        _details(found, sign)


def _reading(case: Case) -> Reading:
    """The second panel: what is looked for, and how the direction is taken and read."""
    entry = resources.zoo_entry(case.suspect)
    st.markdown("**Lens**")
    target = st.text_input(
        "Words to look for",
        (entry.target or "") if entry else "",
        key=f"words {case.suspect}",
        persist_state="session",
        help="The text that the backdoor is meant to produce. Each of its tokens is looked for; punctuation is not.",
    )
    on = st.segmented_control(
        "Shift of the images",
        list(ON),
        default="triggered",
        required=True,
        format_func=ON.get,
        key="shift_of",
        bind="query-params",
    )
    shift = st.segmented_control(
        "Shift",
        list(SHIFTS),
        default="raw",
        required=True,
        format_func=SHIFTS.get,
        key="centring",
        bind="query-params",
        help="Centred takes each image's mean over tokens away first, as the paper does: what is left is how patches "
        "differ in their shift, not what all of them share.",
    )
    normed = st.toggle(
        "Through the final norm",
        value=True,
        key="normed",
        help="A direction has no length, and the head was trained on normed states: the norm gives v₀ the length and "
        "the weighting that the head expects. Off: lm_head(v₀) as it is, as in the paper.",
    )
    return Reading(on, shift == "centred", normed, target.strip())


def _found(opened: OpenedCase, tower: Towers, choice: SetChoice, reading: Reading, progress: Progress) -> Exhibit:
    """The exhibit of these pictures and this way of reading, kept by what decides it."""
    projectors = opened.projectors
    read = {"centred": reading.centred, "normed": reading.normed, "depth": DEPTH}
    told = results.told(opened, choice, target=reading.target, on=reading.on, seed=SEED, **read)
    key = content_key(tower.key, resources.run_key(opened.case, "suspect"), repr(told), choice.key)

    def make() -> Exhibit:
        head, vocabulary = _language(opened.case, progress)
        targets = vocabulary.targets(reading.target) if reading.target else []
        seen = results.set_tokens(tower, projectors, choice, progress)
        chosen = {"clean": slice(0, 1), "triggered": slice(1, 2), "both": slice(0, 2)}[reading.on]
        found = {}
        for role, weights in projectors.items():
            if role != "base":
                progress("Reading the directions of the images", len(found), len(projectors) - 1)
                found[role] = lens(head, opened.base, weights, joined(seen.pairs[role][chosen]), targets, **read)
        null = lens_null(head, targets, normed=reading.normed, seed=SEED, progress=progress)
        return exhibits.lens(found, null, vocabulary, targets, told, head.notes)

    return resources.shelf("lenses", 16).get(key, make, progress)


def _language(case: Case, progress: Progress) -> tuple[LanguageHead, Vocabulary]:
    """Head and tokenizer of the case's language model."""
    found = resources.whose(case, READ, progress)

    def make() -> tuple[LanguageHead, Vocabulary]:
        progress("Reading the language model's output head", 0, 1)
        return read_language(found, progress)

    key = resources.loaded_key(found.models[found.owner("suspect", HEAD)])
    return resources.shelf("language heads", 1).get(key, make, progress)


def _details(found: Exhibit, sign: str) -> None:
    """The target's words against chance, the nearest embeddings or all ranks, behind a switch."""
    charts = {chart.name: chart for chart in found.charts}
    tables = {table.name: table for table in found.tables}
    view = st.segmented_control(
        "Details", VIEWS, default=VIEWS[0], required=True, key="direction_view", label_visibility="collapsed"
    )
    if view == VIEWS[1]:
        components.table(tables["nearest words"])
    elif view == VIEWS[2]:
        components.table(tables["rank frequency"])
    elif f"targets-{sign}" in charts:
        components.chart(charts[f"targets-{sign}"])
        components.table(tables["target words"])
    else:
        components.empty("No words to look for", "Give the text that the backdoor is meant to produce, beside.")


def _side_by_side(shown: list[Chart]) -> None:
    """The heatmaps of suspect and control beside each other, and once how to read them."""
    columns = st.grid(len(shown), min_column_width=300, gap="small")
    for each in shown:
        components.draw(each, columns)
    st.caption(shown[0].caption)


page()
