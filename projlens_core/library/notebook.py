"""How results look in a notebook: HTML in which all text is escaped, and charts that run nothing of their own."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import altair as alt
from altair.vegalite.v6.display import VEGALITE_MIME_TYPE
from markupsafe import Markup

from projlens_core.analyses.exhibit import Chart, Exhibit
from projlens_core.report import drawing
from projlens_core.report.html import printed, svg_of, template
from projlens_core.runtime.text import visible

WIDE, HALF = 760, 490  # px, of a drawing that has the row to itself, and of one of several
CHARTS = 4  # that are drawn; the others are named
ROWS = 10  # of each table; to_frame has all
_FIGURE = Markup('<figure style="margin:.5em 0">{}<figcaption><b>{}</b> {}</figcaption></figure>')


class NotebookChart:
    """A chart of a result. caption says how to read it, alt what is in it, spec is its Vega-Lite specification.

    A notebook that draws Vega-Lite itself shows it with tooltips, any other as a drawing; neither runs a script that
    came with the chart, as altair's own HTML view does, into which a suspect's text could break.

    >>> import projlens_core as pl
    >>> chart = pl.open_case(base="zoo:base", suspect="zoo:clean-1").spectrum().chart()
    >>> chart.to_altair().properties(width=300).width
    300
    """

    def __init__(self, chart: Chart):
        self._chart = chart
        self.name, self.caption, self.alt = chart.name, chart.caption, chart.alt
        self.spec = drawing.specification(chart.chart)

    def svg(self, width: int = WIDE) -> str:
        """The drawing, `width` px wide unless the chart says how wide itself; where it is too large, why not."""
        return str(svg_of(self._chart, drawing.fitted(self.spec, width)))

    def to_altair(self) -> alt.TopLevelMixin:
        """The same as an altair chart, to change or combine. Its own notebook view does not escape text."""
        return alt.Chart.from_dict(self.spec)

    def __repr__(self) -> str:
        return visible(f"{self.name}: {self.alt} {self.caption}")

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict:
        spec = self.spec | ({"width": WIDE} if drawing.takes_width(self.spec) else {})
        return {VEGALITE_MIME_TYPE: spec, "text/html": self._repr_html_(), "text/plain": repr(self)}

    def _repr_html_(self) -> str:
        """The drawing over its caption. It stands inline, so that its ink is that of the notebook's theme."""
        return figure(self, WIDE)


def figure(chart: NotebookChart, width: int, *, captioned: bool = True) -> Markup:
    """The drawing, `width` px wide, over what it shows and how to read it."""
    return _FIGURE.format(Markup(chart.svg(width)), chart.alt, chart.caption if captioned else "")


def as_html(exhibit: Exhibit, left_out: Sequence[str] = ()) -> str:
    """An exhibit for a notebook's cell; left_out: sentences about images that it does not cover."""
    return template(Path(__file__).with_name("notebook.html.jinja")).render(
        exhibit=exhibit,
        charts=list(_figures(exhibit.charts[:CHARTS], WIDE if len(exhibit.charts) == 1 else HALF)),
        further=[chart.name for chart in exhibit.charts[CHARTS:]],
        tables=[printed(table, ROWS) for table in exhibit.tables],
        left_out=left_out,
    )


def _figures(charts: Sequence[Chart], width: int) -> Iterator[Markup]:
    """Of charts that are read alike, the first says how."""
    latest = ""
    for chart in charts:
        yield figure(NotebookChart(chart), width, captioned=chart.caption != latest)
        latest = chart.caption
