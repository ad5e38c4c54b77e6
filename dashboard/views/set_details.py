"""The Activation page's details about whole sets: images ranked by shift, directions, the embedding spectrum."""

from functools import partial

import pandas as pd
import streamlit as st

from dashboard import components, page, pickers, resources, shift_results, state
from dashboard.controls import switch
from dashboard.pickers import SetChoice
from dashboard.views.shift_details import Seen
from projlens_core import analyses
from projlens_core.activations.ranking import By, Ranking
from projlens_core.analyses.exhibit import Exhibit
from projlens_core.analyses.shift import exhibit as embedding
from projlens_core.inputs.images import NamedImage
from projlens_core.report.spreadsheet import for_screen
from projlens_core.runtime.progress import Progress

RANKED_BY: dict[By, str] = {"mean": "Mean over patches", "largest": "Largest patch"}
CONDITIONS = {"triggered": "With the trigger", "clean": "As they are"}
MEASURES = {"values": "Singular values", "energy": "Energy"}


def ranked(seen: Seen) -> None:
    """Samples and uploads by how far they are pushed; a click on a row puts that image on screen."""
    images = tuple(state.everything(resources.samples(), uploads_first=True).values())
    conditions = {c: name for c, name in CONDITIONS.items() if seen.choice.spec or c == "clean"}
    with st.container(horizontal=True, gap="medium"):
        by = switch("Ranked by", RANKED_BY, "ranked_by")
        condition = switch("Images", conditions, "ranked_condition")
    ranked = partial(shift_results.rankings, seen.opened, seen.tower, seen.choice.spec, images)
    found = components.attempt("The images cannot be ranked", ranked)
    if found is None:
        return
    components.charts(embedding.ranked(found, by), 2, 280, alike=True)
    _table(found, images, condition, by)


def _table(rankings: dict[str, dict[str, Ranking]], images: tuple[NamedImage, ...], condition: str, by: By) -> None:
    order = rankings["suspect"][condition].order(by)
    uploads = state.uploads()
    columns: dict[str, list] = {
        "place": list(range(1, len(order) + 1)),
        "image": [images[i].name for i in order],
        "from": ["upload" if images[i].sha256 in uploads else "sample" for i in order],
    }
    for role, by_condition in rankings.items():
        for name, part in by_condition.items():
            columns |= {f"{role}, {name}: mean": part.mean[order], f"{role}, {name}: largest": part.largest[order]}
    frame = pd.DataFrame(columns)
    thumbnails = resources.thumbnails((images[i] for i in order), pickers.THUMBNAIL)
    key = f"ranked {condition} {by}"
    st.dataframe(
        for_screen(frame).assign(look=thumbnails)[["place", "look", *list(frame.columns[1:])]],
        hide_index=True,
        row_height=44,
        column_config={"look": st.column_config.ImageColumn("", width="small", pinned=True)},
        key=key,
        on_select=lambda: _chosen(key, [images[i].sha256 for i in order]),
        selection_mode="single-row",
    )
    components.table_files(
        "pictures-ranked",
        frame,
        "How to read this: |ΔE·v₀| over an image's patches along the samples' universal direction, clean and with "
        "the trigger, in embedding units; an upload that carries a trigger already stands out under clean. Select a "
        "row to look at it.",
    )


def _chosen(key: str, keys: list[str]) -> None:
    """Callback: the image of the selected row goes on screen."""
    rows = st.session_state[key].selection.rows
    if rows:
        state.choose_image(keys[rows[0]])


def directions(seen: Seen) -> None:
    """Each sample's own drift direction against the universal one."""
    found = _sample_shifts(seen)
    if found:
        components.chart(*found.charts_of("universality"))
        components.table(found.table("own-directions"))


def spectrum(seen: Seen) -> None:
    """The embedding spectrum, and what the changed weights reach of the drift."""
    measure = switch("Measure", MEASURES, "spectrum_measure")
    found = _sample_shifts(seen)
    if not found:
        return
    components.metrics(list(found.metrics), control=seen.opened.control is not None)
    components.charts(found.charts_of(f"embedding-{measure}"), 2, 280, alike=True)
    st.markdown("**Do the changed weights reach the drift?**")
    if agreements := found.charts_of("agreement"):
        components.charts(agreements, 3, 240, alike=True)
    for note in found.notes:
        if note not in resources.whose(seen.opened.case).sentences:
            st.text(note)
    with st.expander("Tables", icon=":material/table:"):
        components.table(found.table("embedding-spectrum"))
        components.table(found.table("agreement"))


def _sample_shifts(seen: Seen) -> Exhibit | None:
    analysis = analyses.find("shift")
    samples = SetChoice(resources.samples(), seen.choice.spec)

    def analysed(progress: Progress) -> Exhibit | None:
        return page.exhibit_of(analysis, page.Request(seen.opened.case, samples, progress), analysis.options())

    return components.attempt(analysis.failure, analysed)
