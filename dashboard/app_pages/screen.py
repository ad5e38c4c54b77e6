"""Screen: which of many suspects stand out? Reads the result folder of `projlens screen`, also while it fills."""

import pandas as pd
import streamlit as st

from dashboard import components, controls, links, pages, screenings, state
from dashboard.screenings import Screening
from projlens_core.analyses.exhibit import Chart
from projlens_core.cases.case import Case
from projlens_core.charts import screening as charts
from projlens_core.report.spreadsheet import for_screen
from projlens_core.runtime.plain import as_json
from projlens_core.screen import stages as known
from projlens_core.screen import summary
from projlens_core.screen.listing import CONTROL, SUSPECT
from projlens_core.screen.run import ScreenProgress
from projlens_core.screen.table import CLUSTER, COPY, WAITING

LIVE = 3  # s, after which a folder that fills is read anew
SHOWN = 5_000  # rows on screen; files hold all
HOW = (
    "How to read this: each bar counts the suspects with such a score; the grey band, the honest range, goes from the "
    "lowest to the highest control. What lies beyond it is where to look first, but no proof; what lies within it "
    "is not cleared."
)
_COMMAND = "projlens screen LIST --base BASE --control CONTROL --out FOLDER"


def page() -> None:
    """Draw the page."""
    components.header(pages.SCREEN)
    meaning = "The folder into which `projlens screen` writes; it is read anew while it fills."
    placeholder = "the --out of projlens screen"
    folder = controls.text("Result folder", "", "screen", "screen_folder", placeholder=placeholder, help=meaning)
    if not folder:
        components.empty("No screening opened", f"Run {_COMMAND} and give its folder here.", ":material/radar:")
        return
    found = _read(folder)
    if found is None:
        return
    if found.progress is None:
        _draw(found)
    else:
        st.fragment(_live, run_every=LIVE)(folder)


def _read(folder: str) -> Screening | None:
    return components.attempt("This screening cannot be opened", lambda _: screenings.read(folder))


def _live(folder: str) -> None:
    found = _read(folder)
    if found is None:
        return
    if found.progress is None:
        st.rerun()
    _progress(found.progress)
    _draw(found)
    state.write_address()  # when it is drawn anew, nothing else is


def _progress(at: ScreenProgress) -> None:
    share = at.done / at.total if at.total else 0.0
    said = f"{at.stage}: {at.done:,} of {at.total:,}"
    if at.rate is not None:
        said += f" · {at.rate:.1f}/s"
    if at.left is not None:
        said += f" · {at.left / 60:.0f} min left" if at.left >= 60 else " · under a minute left"
    st.progress(min(1.0, max(0.0, share)), text=said)


def _draw(screening: Screening) -> None:
    table, stages = screening.table, screening.stages
    suspects = table[table["role"] == SUSPECT]
    scores = [name for name in table.columns if "." in name and pd.api.types.is_numeric_dtype(table[name])]
    ranking = summary.ranking(table, stages)
    above = summary.beyond_controls(table, ranking)
    done = suspects[list(stages)]
    screened, failed = (~(done == WAITING).any(axis=1)).sum(), done.isin(("failed", "stopped")).any(axis=1).sum()
    cards = {
        "Suspects": (f"{len(suspects):,}", None),
        "Screened": (f"{screened:,}", "Suspects that have been through every stage planned for them."),
        "Failed": (f"{failed:,}", "The table says why, in one sentence each."),
        "Above every control": (
            "no control" if above is None else f"{int(above.loc[suspects.index].fillna(False).sum()):,}",
            f"By {summary.column(ranking)}, compared with controls of the same form.",
        ),
        "Clusters": (f"{table[CLUSTER].nunique():,}", "Suspects whose changes write into the same direction."),
    }
    grid = st.grid(len(cards), min_column_width=130, gap="xxsmall")
    for label, (value, meaning) in cards.items():
        grid.metric(label, value, help=meaning, border=True)
    first = summary.column(ranking)
    key = links.option("screen_score", scores, first, f"screen_score {len(scores)}")  # more come as stages are done
    titled = {name: f"{name} – {_meaning(name)}" for name in scores}
    score = st.selectbox("Score", scores, scores.index(first), titled.__getitem__, key, persist_state="session")
    values = table.loc[table[score].notna(), ["role", score]]
    of_role = {role: values.loc[values["role"] == role, score].astype(float).tolist() for role in (SUSPECT, CONTROL)}
    components.chart(
        Chart(
            "screening",
            charts.distribution(f"Suspects by {score}", score, of_role[SUSPECT], of_role[CONTROL]),
            HOW,
            f"Histogram of the suspects' {score}, with the range of the controls.",
        )
    )
    _table(screening, score)


def _table(screening: Screening, score: str) -> None:
    table = screening.table
    with st.container(horizontal=True, vertical_alignment="bottom"):
        text = controls.text("Name holds", "", "screen_text")
        known_states = sorted({s for stage in screening.stages for s in table[stage]})
        key = links.several("screen_state", known_states, ())
        states = st.multiselect("State", known_states, key=key, persist_state="session")
        clusters = {None: "any"} | {n: str(n) for n in sorted(table[CLUSTER].dropna().unique())}
        key = links.option("screen_cluster", clusters, None, f"screen_cluster {len(clusters)}")
        cluster = st.selectbox(
            "Cluster", list(clusters), format_func=clusters.__getitem__, key=key, persist_state="session"
        )
    kept = table
    if text:
        kept = kept[kept["suspect"].str.contains(text, case=False, regex=False)]
    if states:
        kept = kept[kept[list(screening.stages)].isin(states).any(axis=1)]
    if cluster is not None:
        kept = kept[kept[CLUSTER] == cluster]
    kept = kept.sort_values(score, ascending=False, kind="stable")
    first = ["suspect", score, "truth", CLUSTER, *screening.stages]
    known_of = [name for name in kept.columns if name not in ("truth", COPY) or table[name].notna().any()]
    shown = kept[sorted(known_of, key=lambda name: first.index(name) if name in first else len(first))].head(SHOWN)
    event = st.dataframe(
        for_screen(shown),
        hide_index=True,
        placeholder="–",
        on_select="rerun",
        selection_mode="single-row",
        key="screen_table",
        column_config={name: st.column_config.Column(help=_meaning(name)) for name in shown.columns if "." in name},
    )
    said = f"{len(kept):,} of {len(table):,} rows" + (f", the first {SHOWN:,} shown" if len(kept) > SHOWN else "")
    components.table_files("screening", kept, f"{said}. Click a row to open its case.")

    def rows() -> str:
        return as_json({"suspects": kept.astype(object).where(kept.notna(), None).to_dict("records")})

    components.download("JSON", rows, "screening.json", "application/json", type="tertiary")
    if event.selection.rows and event.selection.rows[0] < len(shown):
        _open(screening, shown.iloc[event.selection.rows[0]])


def _open(screening: Screening, row: pd.Series) -> None:
    """What is known of the row that was clicked, and the way to its case."""
    table = screening.table
    controls = table.loc[(table["role"] == CONTROL) & (table["suspect"] != row["suspect"]), "suspect"]
    st.text(f"{row['suspect']}\n{row['sentence']}".strip())
    if st.button("Open the case", icon=":material/fingerprint:"):
        state.choose_case(Case(row["base"], row["suspect"], controls.iloc[0] if len(controls) else None))
        st.switch_page("app_pages/case.py")


def _meaning(score: str) -> str:
    stage, _, name = score.partition(".")
    if stage not in known.STAGES:
        return name
    return (known.STAGES[stage].scores | known.STAGES[stage].labels).get(name, name)


page()
