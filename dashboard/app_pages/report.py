"""Report: what can you share? All findings as one file, and a bundle that reopens them without weights."""

from dataclasses import replace

import streamlit as st

from dashboard import components, cost, links, pages, pickers, questions, reports, resources, state
from dashboard.controls import switch, text
from dashboard.page import stoppable
from dashboard.pickers import SetChoice
from projlens_core.analyses.context import AnalysisInputs
from projlens_core.analyses.exhibit import Exhibit, Metric
from projlens_core.cases.case import Case
from projlens_core.errors import ProjLensError
from projlens_core.report.bundle import MAX_ZIPPED, pack, unpack
from projlens_core.report.gather import parts
from projlens_core.report.record import Record, differences
from projlens_core.runtime import shortage

COUNT = 24  # images by default
AT_ONCE = ("weights", "activations")  # floors whose parts are chosen from the start: they run no language model
FILE = "projlens"


def page() -> None:
    """Draw the page."""
    components.header(pages.REPORT)
    case = state.current_case()
    shown, parts, sets, details = components.layout()
    with sets:
        choice = _images(case) if case else None
        _opener()
    with parts:
        chosen = _parts()
    stored = st.session_state.get(state.STORED)
    with shown:
        if stored is not None:
            record = stored
            _stored_banner(record)
        elif case is None:
            components.no_case()
            return
        else:
            components.case_line(case, resources.zoo())
            record = _generated(case, choice, chosen)
        if record is None:
            return
        _files(record)
    with details:
        _exhibits(record, foreign=stored is not None)


def _parts() -> list[str]:
    """Which analyses to do."""
    known = parts()
    at_once = [key for key, part in known.items() if part.floor in AT_ONCE]
    st.markdown("**Parts**")
    return st.pills(
        "Parts",
        list(known),
        selection_mode="multi",
        default=at_once,
        format_func=lambda key: known[key].title,
        key=links.several("report_parts", known, at_once),
        persist_state="session",
        label_visibility="collapsed",
        help="Response and the low-rank lab ask the language model about every image: minutes on a CPU.",
    )


def _images(case: Case) -> tuple[SetChoice, int, str, str] | None:
    """On which images, with which trigger, target and question; None without images."""
    choice = pickers.set_panel(case)
    if choice is None:
        return None
    most = len(choice.images)
    first = min(COUNT, most)
    key = links.number("report_count", 1, most, first)
    count = st.number_input("How many images", 1, most, first, key=key, persist_state="session")
    target = pickers.target(case)
    placeholder = "the suspect's own" if questions.own(case) else "the first known of each image"
    question = text("Question", "", "report_question", f"report question {case.suspect}", placeholder=placeholder)
    return choice, count, target, question


def _generated(case: Case, choice: tuple[SetChoice, int, str, str] | None, chosen: list[str]) -> Record | None:
    """The report of this session about this case, made anew when asked for."""
    try:
        wanted = reports.asked(case, *choice) if choice else AnalysisInputs(case)
    except ProjLensError as error:
        components.failure(error, "This case cannot be opened")
        return _made(case)
    with st.container(horizontal=True, vertical_alignment="center"):
        pressed = st.button("Generate", type="primary", icon=":material/play_arrow:", disabled=not chosen)
        stop = st.empty()
        st.caption(_effort(wanted, chosen))
    if pressed:
        with stoppable(stop, "No report") as progress:
            record = reports.recorded(wanted, chosen, progress)
            reports.html(record, progress)
            st.session_state[state.RECORD] = (case, record)
            return record
        return None
    if state.stopped():
        st.caption("Stopped; no report was made. What the caches hold is not computed again.")
    made = _made(case)
    if made is None:
        components.empty("No report yet", "Choose the parts and press Generate.", ":material/description:")
    return made


def _effort(wanted: AnalysisInputs, chosen: list[str]) -> str:
    """What Generate does, and about how long that takes."""
    known = parts()
    said = [f"{len(chosen)} parts on {len(wanted.images.images) if wanted.images else 0} images."]
    if count := reports.answers(wanted, chosen):
        said.append(f"Up to {count:,} answers of the language model: {cost.in_words(count)}.")
    elif chosen:
        said.append("No language model is asked: seconds to a minute on the demo models.")
    if slow := [known[key].title for key in chosen if known[key].on_request]:
        said.append(f"{' and '.join(slow)}: minutes more.")
    said.append("Failed parts are skipped and listed; what was computed before comes from the cache.")
    return " ".join(said)


def _made(case: Case) -> Record | None:
    """The report that this session made of the case; it stays when the case can no longer be opened."""
    made = st.session_state.get(state.RECORD)
    return made[1] if made is not None and made[0] == case else None


def _opener() -> None:
    """The door for bundles from elsewhere."""
    st.markdown("**Open a bundle**")
    st.file_uploader(
        "Open a bundle",
        ["zip"],
        key=f"bundle-{st.session_state.get(state.BUNDLE_ROUND, 0)}",
        on_change=_bundle_given,
        max_upload_size=MAX_ZIPPED // 2**20,
        label_visibility="collapsed",
        help="A case bundle that ProjLens wrote: it is shown without weights, and nothing in it is run.",
    )
    if refused := st.session_state.get(state.BUNDLE_REFUSED):
        components.notice("Not opened", refused)


def _bundle_given() -> None:
    file = st.session_state[f"bundle-{st.session_state.get(state.BUNDLE_ROUND, 0)}"]
    if file is None:
        return
    try:
        with shortage.named():
            state.show_stored(unpack(file.getvalue()))
    except ProjLensError as error:
        state.refuse_stored(str(error))


def _stored_banner(record: Record) -> None:
    """That this is no analysis of now: of when, of what, by which version."""
    made = record.provenance
    with st.container(border=True, gap="xsmall"):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.badge("Stored result", icon=":material/inventory_2:", color="orange")
            st.button("Close the bundle", icon=":material/close:", type="tertiary", on_click=state.close_stored)
        st.text(record.title)
        st.text(
            f"Made {made.created[:16].replace('T', ' ')} UTC by ProjLens {made.projlens}. Nothing was computed here."
        )
        if others := differences(made):
            st.text(f"Computed with {', '.join(others)}: its numbers are shown as stored, never mixed with new ones.")
        for what, digest in made.hashes.items():
            st.text(f"{what}: SHA-256 {digest[:16]}…")


def _files(record: Record) -> None:
    """The two files, and what is in them."""
    with st.container(horizontal=True):
        # made when they are asked for: drawing every chart takes seconds, and an opened bundle is mostly only looked at
        components.download("Report (HTML)", lambda: reports.html(record), f"{FILE}-report.html", "text/html")
        components.download("Case bundle (ZIP)", lambda: pack(record), f"{FILE}-case.zip", "application/zip")
    for part in record.missing:
        st.text(f"{part.part}: not done: {part.reason}")
    if record.provenance.command:
        st.code(record.provenance.command, language=None, wrap_lines=True)
    st.caption(
        "The report opens in any browser, offline, and prints. The bundle reopens here, without the weights. "
        "Both hold settings, versions and hashes, and the command that repeats them."
    )


def _exhibits(record: Record, *, foreign: bool) -> None:
    """One exhibit at a time, as its page shows it."""
    by_key = {exhibit.key: exhibit for exhibit in record.exhibits}
    if not by_key:
        return
    titles = {key: components.plain(exhibit.title) for key, exhibit in by_key.items()}
    key = switch("Exhibit", titles, "report_exhibit", key=f"exhibit of {', '.join(titles)}", labelled=False, wrap=True)
    exhibit = by_key[key]
    st.text(exhibit.question)
    components.exhibit(_harmless(exhibit) if foreign else exhibit, control="control" in record.provenance.hashes)


def _harmless(shown: Exhibit) -> Exhibit:
    """An exhibit from elsewhere, its texts for the places that take Markdown: nothing in them is markup any more."""
    plain = components.plain
    return replace(
        shown,
        metrics=tuple(Metric(*(text and plain(text) for text in vars(each).values())) for each in shown.metrics),
        charts=tuple(replace(each, caption=plain(each.caption)) for each in shown.charts),
        tables=tuple(
            replace(each, caption=plain(each.caption), help={name: plain(text) for name, text in each.help.items()})
            for each in shown.tables
        ),
    )


page()
