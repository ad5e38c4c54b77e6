"""A record as one HTML file: opens offline, prints, and runs nothing that came with a suspect.

Names, templates and answers of a suspect may hold anything. All text goes through the template's escaping; JSON for
the charts cannot end its script element; and a content security policy allows the two scripts of ours by their hash,
no other, and no connection to anywhere. The one defence does not rest on the other.
"""

import base64
import hashlib
import html
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup

from projlens_core.analyses.exhibit import Chart, Exhibit, Table, heading, with_minus
from projlens_core.report import drawing
from projlens_core.report.record import Record
from projlens_core.report.spreadsheet import as_csv
from projlens_core.report.summary import ALONE, TITLES, summary
from projlens_core.runtime.plain import as_json
from projlens_core.runtime.progress import Progress, silent

WIDE, HALF = 1010, 490  # px, of a chart that has the row to itself, and of one of two
MAX_ROWS = 30  # of a table, printed; the CSV beside it has all
MAX_SVG = 1_500_000  # characters; a larger drawing is left to the browser
STAGE = "Drawing charts"
_HERE = Path(__file__).parent
_IMAGE = "data:image/"


@dataclass(frozen=True)
class _Drawn:
    """A chart as the template takes it; svg and json are safe as they stand."""

    id: str
    file: str
    alt: str
    caption: str
    svg: Markup
    json: Markup


@dataclass(frozen=True)
class _Column:
    name: str
    help: str
    number: bool


@dataclass(frozen=True)
class _Cell:
    text: str
    number: bool
    image: bool


@dataclass(frozen=True)
class PrintedTable:
    """A table as the template takes it; csv is a data URI of all its rows."""

    file: str
    caption: str
    columns: list[_Column]
    rows: list[list[_Cell]]
    left_out: int
    csv: str


def as_html(record: Record, progress: Progress = silent) -> str:
    """The report. Charts are drawn as SVG, and drawn again with tooltips and a download menu where scripts may run."""
    total = sum(len(exhibit.charts) for exhibit in record.exhibits)
    drawn = 0
    charts: dict[str, list[_Drawn]] = {}
    foreign = _foreign(record)
    for exhibit in record.exhibits:
        charts[exhibit.key], last_caption = [], ""
        for number, chart in enumerate(exhibit.charts):
            progress(STAGE, drawn, total)
            shown = _drawn(f"{exhibit.key}-chart-{number}", chart, _width(exhibit), foreign)
            charts[exhibit.key].append(shown if chart.caption != last_caption else replace(shown, caption=""))
            last_caption = chart.caption  # of charts that are read alike, the first says how
            drawn += 1
    progress(STAGE, drawn, total)
    vega, js, css = drawing.javascript(), _own("report.js"), _own("report.css")
    return template(_HERE / "report.html.jinja").render(
        record=record,
        summary=summary({exhibit.key: exhibit.data for exhibit in record.exhibits}),
        titles=TITLES,
        alone="" if "control" in record.provenance.hashes else ALONE,
        charts=charts,
        tables={exhibit.key: [printed(table) for table in exhibit.tables] for exhibit in record.exhibits},
        settings=as_json(record.provenance.settings, indent=2),
        policy=_policy(vega, js),
        vega=Markup(vega),
        js=Markup(js),
        css=Markup(css),
    )


def _drawn(name: str, chart: Chart, width: int, foreign: Mapping[str, str]) -> _Drawn:
    """foreign: what stands in the place of a stranger's chart, by its name."""
    spec = drawing.drawable(chart.chart, width)
    svg = Markup(foreign[name]) if name in foreign else svg_of(chart, spec)
    return _Drawn(name, chart.name, chart.alt, chart.caption, svg, _json(spec))


def svg_of(chart: Chart, spec: dict) -> Markup:
    """A chart of ours as drawing.drawable gave its spec, drawn; a sentence where the drawing would be too large."""
    return Markup(_bounded(drawing.svg(spec), chart))


def _foreign(record: Record) -> dict[str, str]:
    """The drawings of charts that came with a bundle, or why there is none, by the chart's name in the file."""
    charts = {
        f"{exhibit.key}-chart-{number}": (chart, _width(exhibit))
        for exhibit in record.exhibits
        for number, chart in enumerate(exhibit.charts)
        if isinstance(chart.chart, drawing.StoredChart)
    }
    svgs, reason = drawing.strangers_svgs([drawing.drawable(chart.chart, width) for chart, width in charts.values()])
    return {
        name: _bounded(svg, chart) if svg else _instead(chart, f"Not drawn: {reason or 'it is no whole chart.'}")
        for (name, (chart, _)), svg in zip(charts.items(), svgs, strict=True)
    }


def _bounded(svg: str, chart: Chart) -> str:
    return svg if len(svg) <= MAX_SVG else _instead(chart, "Too many marks to draw without scripts.")


def _instead(chart: Chart, reason: str) -> str:
    return f"<p>{html.escape(chart.alt)} {html.escape(reason)}</p>"


def _width(exhibit: Exhibit) -> int:
    return WIDE if len(exhibit.charts) == 1 else HALF


def _json(value: object) -> Markup:
    """JSON for a script element: <, > and & escaped, so that nothing in it ends the element or opens a comment."""
    text = as_json(value, ensure_ascii=True, separators=(",", ":"))
    return Markup(text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026"))


def printed(table: Table, most: int = MAX_ROWS) -> PrintedTable:
    """The first `most` rows of a table as text, and all of it as CSV."""
    frame = table.frame
    numbers = [pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind) for kind in frame.dtypes]
    columns = [
        _Column(heading(str(name)), table.help.get(str(name), ""), number)
        for name, number in zip(frame.columns, numbers, strict=True)
    ]
    rows = [
        [_cell(value, number) for value, number in zip(row, numbers, strict=True)]
        for row in frame.head(most).itertuples(index=False, name=None)
    ]
    csv = "data:text/csv;base64," + base64.b64encode(as_csv(frame)).decode()
    return PrintedTable(table.name, table.caption, columns, rows, max(len(frame) - most, 0), csv)


def _cell(value: object, number: bool) -> _Cell:
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return _Cell("–", number, False)
    if isinstance(value, str):
        return _Cell(value, number, value.startswith(_IMAGE))
    if isinstance(value, bool | np.bool_):
        return _Cell("yes" if value else "no", number, False)
    if isinstance(value, float | np.floating):
        return _Cell(with_minus(f"{value:.4g}"), number, False)
    return _Cell(str(value), number, False)


def _policy(*scripts: str) -> str:
    allowed = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts
    )
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def template(file: Path) -> jinja2.Template:
    """A template of ours: all text in it is escaped, and a name that is not known is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(file.parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template(file.name)


@cache
def _own(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
