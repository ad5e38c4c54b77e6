"""Spectrum: how is the change of the projector built? Reads weights only; no model is run."""

from functools import partial

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard import components, further_spectra, links, pages, resources
from dashboard.controls import slider, switch, text
from dashboard.page import case_under
from projlens_core.analyses.case.exhibit import TOP, symbol
from projlens_core.analyses.spectrum import exhibit as exhibits
from projlens_core.analyses.spectrum import tables
from projlens_core.analyses.spectrum.tables import Overlaps, SpectraByName
from projlens_core.cases.case import Case, OpenedCase, left_out
from projlens_core.cases.whose import unread
from projlens_core.sources import PREFIX

VIEWS = {"spectra": "Spectra", "heatmap": "ΔW itself", "overlap": "Shared directions"}
MEASURES = {"largest": "Largest", "rms": "RMS"}
MOST_BESIDE = 4  # matrices that one chooses from side by side; more are in a list
MOST_FURTHER = 5  # as many colours as can be told apart
MOST_SHOWN = 256  # singular values, of the slider
DIRECTIONS = 8
MOST_DIRECTIONS = 32


def page() -> None:
    """Draw the page."""
    case = case_under(pages.of("spectrum"))
    if case is None:
        return
    main, panel, controls, details = components.layout()
    with panel:
        further = _further(case)
    with main:
        opened = components.attempt("This case cannot be opened", partial(resources.decomposed, case))
        if opened is None:
            return
        if not any(tensor.changed for tensor in opened.delta.matrices):
            if opened.delta.uncompared:
                components.empty("Not all was compared", "No matrix that was compared changed.")
                st.text(left_out(opened.delta))
            else:
                components.empty("No matrix changed", "Base and suspect hold the same matrices, value for value.")
            return
        compare = partial(further_spectra.of, opened, further)
        by_name = components.attempt("This projector cannot be compared with the case", compare)
        found = opened.delta_spectra | (by_name or {})
        shared = _main(opened, found, controls)
        components.parts(unread(case))
    with details:
        for table in (*([tables.pairs(shared)] if shared else []), tables.tensors(found)):
            components.table(table)


def _further(case: Case) -> list[str]:
    """Which projectors stand beside the case: of the zoo by name, and one by its path."""
    st.markdown("**Also compare with**")
    zoo = resources.zoo()
    offered = [PREFIX + name for name, entry in zoo.items() if entry.role != "base"]
    offered = [spec for spec in offered if spec not in (case.suspect, case.control)]
    chosen = []
    if case.base.startswith(PREFIX) and offered:
        chosen = st.multiselect(
            "Further projectors of the zoo",
            offered,
            format_func=lambda spec: components.shown(spec, zoo),
            max_selections=MOST_FURTHER - 1,
            key=links.several("beside", offered, (), f"beside {case.suspect}, {case.control}", most=MOST_FURTHER - 1),
            persist_state="session",
            placeholder="Choose some",
        )
    meaning = "A fine-tune of the same base: a checkpoint folder, a weight file, zoo:NAME or hub:OWNER/NAME."
    path = text("Another by its path", "", "beside_path", "beside by path", help=meaning)
    return [*chosen, *([path] if path and path not in chosen else [])]


def _main(opened: OpenedCase, by_name: SpectraByName, controls: DeltaGenerator) -> Overlaps | None:
    """One view of one matrix; what can be set about it goes to `controls`. What changes share, if that is on view."""
    changed = [tensor.name for tensor in opened.delta.matrices if tensor.changed]
    numbers = {name: symbol(number) for number, name in enumerate(opened.spectra, 1)}
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        view = switch("View", VIEWS, "weights_view", "spectra")
        numbered = {name: f"{numbers[name]} ({name})" for name in changed}
        last, key = changed[-1], f"matrix of {', '.join(changed)}"
        if len(changed) <= MOST_BESIDE:
            name = switch("Matrix", numbered, "matrix", last, key=key, kept=True)
        else:
            key, place = links.option("matrix", changed, last, key), len(changed) - 1
            name = st.selectbox("Matrix", changed, place, numbered.__getitem__, key, width=360, persist_state="session")
    components.metrics(list(exhibits.metrics(by_name, name)), control="control" in by_name)
    with controls:
        st.markdown(f"**{VIEWS[view]}**")
    if view == "overlap":
        return _overlap(by_name, name, controls)
    (_spectra if view == "spectra" else _heatmap)(by_name, name, controls)
    return None


def _spectra(by_name: SpectraByName, name: str, controls: DeltaGenerator) -> None:
    """All changes' singular values over both noise edges, and their energy."""
    most = min(MOST_SHOWN, len(by_name["suspect"].spectra[name].values))
    with controls:
        top = most
        if most > 2:
            top = slider("Singular values shown", 2, most, min(TOP, most), "weights_top")
        one = by_name["suspect"]
        st.caption(tables.edge_sentence(one.edges[name], one.bulk_edges[name]))
    components.charts(exhibits.spectra(by_name, name, top), 2, 280)


def _heatmap(by_name: SpectraByName, name: str, controls: DeltaGenerator) -> None:
    """ΔW as an image, the suspect beside one other change on the same scale, whole or a window of it."""
    rows, columns = next(tensor.shape for tensor in by_name["suspect"].delta.matrices if tensor.name == name)
    with controls:
        meaning = "RMS: the typical entry of the block. Largest: its strongest entry, which may stand alone."
        measure = switch("A cell shows", MEASURES, "weights_measure", "rms", kept=True, help=meaning)
        window = _span("Rows", rows), _span("Columns", columns)
        others = [who for who in by_name if who != "suspect"]
        other = others[0] if others else None
        if len(others) > 1:
            key = links.option("heatmap_beside", others, others[0], f"beside in heatmap {others}")
            other = st.selectbox("Compare with", others, key=key)
    if any(low == high for low, high in window):
        components.empty("An empty window", "Pull the two ends of the sliders apart.")
        return
    shown = {who: one for who, one in by_name.items() if who in ("suspect", other)}
    *maps, legend = exhibits.heatmaps(shown, name, measure, *window)
    components.charts(maps, 2, 280)
    components.chart(legend)


def _span(label: str, size: int) -> tuple[int, int]:
    """From where to where, of `size` rows or columns."""
    if size == 1:
        return 0, 1
    return st.slider(
        label, 0, size, (0, size), key=links.span(label.lower(), 0, size, f"{label} of {size}"), persist_state="session"
    )


def _overlap(by_name: SpectraByName, name: str, controls: DeltaGenerator) -> Overlaps | None:
    """Principal angles of the suspect with every other change, where they write and where they read."""
    most = min(MOST_DIRECTIONS, min(len(one.spectra[name].values) for one in by_name.values()) // 2)
    with controls:
        k = max(1, most)
        if most > 1:
            k = slider("Leading directions", 1, most, min(DIRECTIONS, most), "weights_directions")
        st.caption(
            "Directions are the singular vectors of ΔW, strongest first: the left ones lie where it writes, in its "
            "output, the right ones where it reads, in its input."
        )
    shared = further_spectra.overlaps(by_name, k)
    charts = exhibits.angles(shared, by_name, name)
    if not charts:
        components.empty(
            "Nothing to compare with", "Choose a control on the Case page, or add a projector to compare with."
        )
        return None
    components.charts(charts, 2, 280)
    return shared


page()
