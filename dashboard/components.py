"""What several pages draw alike: header, progress, failure panels, metric cards, answers."""

import html
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import altair as alt
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard import pages, state, unlinked
from dashboard.glossary import glossary_of
from dashboard.pages import Page
from projlens_core.analyses.exhibit import Chart, Exhibit, Metric, Table, heading
from projlens_core.cases.case import Case
from projlens_core.cases.whose import Whose
from projlens_core.charts import palette
from projlens_core.charts.form import Filled
from projlens_core.errors import ProjLensError
from projlens_core.report.spreadsheet import as_csv, as_parquet, for_screen
from projlens_core.runtime import cache, shortage
from projlens_core.runtime.progress import Progress
from projlens_core.sources import PREFIX, UPLOAD_PREFIX, ZooEntry

_BADGE = (  # as st.badge draws one; the text leans to that of the theme, or violet on black could not be read
    "background:{colour}22;color:color-mix(in srgb, {colour} 65%, currentColor);"
    "border-radius:.25rem;padding:.1rem .3rem;margin-right:.25rem;font-size:.9em"
)
_ALONE = (
    f'<div style="border-left:.25rem solid {palette.TRIGGERED};padding:.1rem .6rem;margin-top:.4rem">No control: an '
    "honest fine-tune changes weights and embeddings, too. Choose one on the Case page to know what is unusual.</div>"
)
_INTERVAL_FIRST = (  # of a card: the value's own interval right below it, the control on a line of its own
    "<style>[data-testid=stMetric] div:has(> [data-testid=stMetricDeltaDescription])"
    "{flex-direction:column-reverse;align-items:flex-start}"
    "[data-testid=stMetricValue] *{white-space:normal!important}</style>"
)
_COLOURS = {"suspect": palette.SUSPECT, "base": palette.BASE, "control": palette.CONTROL}
_FILES = (("CSV", as_csv, "text/csv"), ("Parquet", as_parquet, "application/vnd.apache.parquet"))
COLUMN = 200  # px; the least width of a page's columns, and so of the controls beside its image
T = TypeVar("T")


def header(page: Page) -> None:
    """Title and question of a page; what its address holds and what not, and the glossary, one click away."""
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        with st.container(gap=None, width="content"):
            st.title(page.title, anchor=False)
            st.caption(page.question)
        with st.container(horizontal=True, gap="small", width="content"):
            with st.popover("Link", icon=":material/link:", type="tertiary"):
                st.caption(
                    "The address of this page reopens it in another window: case, image, trigger, every parameter."
                )
                for each in unlinked.sentences():
                    st.caption(f":material/link_off: {each}")
            with st.popover("Glossary", icon=":material/menu_book:", type="tertiary"):
                st.markdown("\n\n".join(f"**{term}** — {meaning}" for term, meaning in glossary_of(page.name).items()))
    if trouble := cache.trouble():
        st.text(trouble)


def layout() -> tuple[DeltaGenerator, DeltaGenerator, DeltaGenerator, DeltaGenerator]:
    """The places of a page: main part, two panels of controls, details.

    Wide, the panels stand to the right of main part and details. Narrow, they come before them, side by side where
    there is room: what is asked stands before the answer. The order is the same for the keyboard and for whoever
    hears the page; front.py has what turns it round.
    """
    with st.container(horizontal=True, gap="small", key="frame"):
        panels, results = st.container(key="frame_inputs"), st.container(key="frame_results")
    with panels:
        grid = st.grid(2, min_column_width=COLUMN, gap="small")
        first, second = (grid.cell().container(border=True, height="stretch") for _ in range(2))
    return results.container(), first, second, results.container()


def case_line(case: Case, zoo: dict[str, ZooEntry]) -> None:
    """Which case is on screen: suspect, base and control by name.

    One element for all three, as every page has it: a container with a badge and a text for each took 15 ms to draw.
    Names are folders', which may be called anything: HTML, escaped, shows them to the letter, and Markdown does not.
    """
    named = [
        f'<span><span style="{_BADGE.format(colour=colour)}">{role}</span> '
        f"{html.escape(shown(case.specs[role], zoo)) if role in case.specs else 'none'}</span>"
        for role, colour in _COLOURS.items()
    ]
    if case.projector_only:
        named.append(f'<span style="{_BADGE.format(colour=palette.NULL)}">projector only</span>')
    alone = "" if case.control else _ALONE
    st.html(f'<div style="display:flex;flex-wrap:wrap;gap:.25rem 1.1rem">{" ".join(named)}</div>{alone}')


def parts(owners: Whose) -> None:
    """Which tower and language model ran under which projector, in words; they quote names from files."""
    st.caption(plain(" ".join(owners.sentences)))


def shown(spec: str, zoo: dict[str, ZooEntry]) -> str:
    """A model's name for people: the zoo's title, an upload's file name, or the last two parts of a path."""
    if spec.startswith(UPLOAD_PREFIX):
        digest, _, name = spec.removeprefix(UPLOAD_PREFIX).partition("/")
        return f"{name} (upload)" if name else f"uploaded files ({digest[:6]})"
    entry = zoo.get(spec.removeprefix(PREFIX)) if spec.startswith(PREFIX) else None
    return entry.title if entry else str(Path(*Path(spec).parts[-2:]))


@contextmanager
def progress() -> Iterator[Progress]:
    """One thin line with stage, count and end, where the result will be.

    It appears with the first step reported, so nothing flickers where there is nothing to do. Where memory or disk
    run out in the block, Shortage says so.
    """
    slot = st.empty()
    begun = False

    def report(stage: str, done: int, total: int) -> None:
        nonlocal begun
        if done == total and not begun:
            return  # all of it was at hand
        begun = True
        slot.progress(min(done / total, 1.0) if total else 0.0, text=plain(f"{stage}: {done} of {total}"))

    try:
        with shortage.named():
            yield report
    finally:
        slot.empty()


def attempt(what: str, make: Callable[[Progress], T]) -> T | None:
    """What `make` makes while its progress is shown; None where it fails, which a panel headed `what` then says."""
    try:
        with progress() as report:
            return make(report)
    except ProjLensError as error:
        failure(error, what)
        return None


def failure(error: ProjLensError, what: str) -> None:
    """What could not be done, and the error's one sentence as it is: it may quote names from files."""
    notice(what, str(error), ":material/error:", key=f"failure {what}")  # the key becomes a class that tests look for


def notice(
    what: str, sentence: str, icon: str = ":material/block:", color: Literal["red", "blue"] = "red", key: Any = None
) -> None:
    """A panel headed `what` with a sentence, which may quote names from files."""
    with st.container(border=True, gap="xsmall", key=key):
        st.badge(what, icon=icon, color=color)
        st.text(sentence)


def empty(title: str, next_step: str, icon: str = ":material/info:") -> None:
    """Nothing to show yet, and what to do about it."""
    with st.container(border=True, gap="xsmall"):
        st.markdown(f"{icon} **{title}**")
        st.caption(next_step)


def page_link(name: str, label: str) -> None:
    """A link to the page of this name; one that has no file of its own is in the sidebar alone."""
    page = pages.named(name)
    if (pages.FOLDER / f"{name}.py").is_file():
        st.page_link(page.file, label=label, icon=page.icon, query_params=state.address() or None)


def no_case() -> None:
    """What a page shows where there is no case, as none was chosen or the address names half of one."""
    empty("No case yet", "Choose on the Case page which suspect to look at.")
    page_link("case", "Choose a case")


def no_set() -> None:
    """What a page about a set of images shows while its panel gives none: there it says what is missing."""
    empty("Nothing to look at yet", "The panel of images and trigger says what is missing.")


def metrics(cards: list[Metric], control: bool | None) -> None:
    """Headline numbers side by side; each says how the control fares, or that there is none.

    control: whether the case has one; None for numbers of which no control has any, which then do not mention it.
    """
    st.html(_INTERVAL_FIRST)
    grid = st.grid(len(cards), min_column_width=165, gap="xxsmall")
    for card in cards:
        comparison = f"control {card.control}" if card.control else ("control: no figure" if control else "no control")
        grid.metric(
            card.label,
            card.value,
            delta=None if control is None else comparison,
            delta_color="green" if card.control else "off",
            delta_arrow="off",
            delta_description=card.interval,
            help=card.help,
            border=True,
        )


class Drawn(alt.TopLevelMixin):
    """A chart for st.altair_chart, which would validate ours at each run; that takes longer than all else it does."""

    def __init__(self, chart: alt.TopLevelMixin):
        self._chart = chart

    def to_dict(self, *_: object, **__: object) -> dict:
        """The specification, as it is; the data of one that names them as tables, which travel faster than rows."""
        if isinstance(self._chart, Filled):
            return {**self._chart.unfilled(), "datasets": dict(self._chart.data)}
        return self._chart.to_dict(validate=False)


def draw(shown: Chart, where: Any = st, **selection: Any) -> None:
    """A chart as wide as its place, without its sentence; selection: key and on_select, where its marks are clicked."""
    where.altair_chart(Drawn(shown.chart), width="stretch", alt=shown.alt, **selection)


def chart(shown: Chart) -> None:
    """A chart with its one sentence on how to read it; its toolbar saves it as PNG (as SVG: in the report)."""
    draw(shown)
    st.caption(shown.caption)


def charts(shown: Sequence[Chart], columns: int, width: int, *, alike: bool = False) -> None:
    """Charts in `columns`, each at least `width` px wide, with its sentence; those read alike have one for all."""
    places = st.grid(columns, min_column_width=width, gap="small")
    for each in shown:
        if alike:
            draw(each, places)
        else:
            with places.cell():
                chart(each)
    if alike:
        st.caption(shown[0].caption)


def table(shown: Table, formats: Mapping[str, str] | None = None) -> None:
    """A table with its sentence and its files; formats: how numbers are written, by column."""
    renamed = (name for name in shown.frame.columns if heading(name) != name)
    described = {*shown.help, *(formats or {}), *renamed}
    columns = {
        name: st.column_config.NumberColumn(heading(name), format=formats[name], help=shown.help.get(name))
        if formats and name in formats
        else st.column_config.Column(heading(name), help=shown.help.get(name))
        for name in described
    }
    st.dataframe(for_screen(shown.frame), hide_index=True, column_config=columns, placeholder="–")
    table_files(shown.name, shown.frame, shown.caption)


def table_files(name: str, frame: pd.DataFrame, caption: str) -> None:
    """What stands below a table: how to read it, and buttons that save all of it as CSV and as Parquet."""
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.caption(caption)
        with st.container(horizontal=True, gap="small", width="content"):
            for kind, write, mime in _FILES:
                key = f"{kind.lower()} {name}"
                download(kind, partial(write, frame), f"{name}.{kind.lower()}", mime, type="tertiary", key=key)


def download(label: str, data: Any, name: str, kind: str, **more: Any) -> None:
    """A button that saves a file; data: bytes or text, or what makes them when they are asked for; kind: MIME type."""
    st.download_button(label, data, name, kind, icon=":material/download:", on_click="ignore", **more)


def exhibit(shown: Exhibit, *, control: bool | None) -> None:
    """An exhibit from top to bottom: headline numbers, charts, tables, notes."""
    if shown.metrics:
        metrics(list(shown.metrics), control=control)
    for each in shown.charts:
        chart(each)
    numbers(shown)


def numbers(shown: Exhibit) -> None:
    """The tables and notes of an exhibit."""
    for listed in shown.tables:
        table(listed)
    for note in shown.notes:
        st.text(note)


def sentences(notes: Iterable[str]) -> None:
    """What a reader has to bear in mind, one line each; they may quote names from files."""
    for note in notes:
        st.caption(plain(note))


def plain(text: str) -> str:
    """Text from a file or a model, for the few places that only take Markdown: every special character escaped."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(text.split()))
