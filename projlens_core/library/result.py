"""What an analysis gives to a caller of the library: the typed result, and what is shown of it."""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Generic, TypeVar

from projlens_core.analyses.analysis import Analysis, Options
from projlens_core.analyses.context import AnalysisContext
from projlens_core.errors import NotFound, ProjLensError
from projlens_core.runtime.plain import plain
from projlens_core.runtime.text import listed, visible

if TYPE_CHECKING:
    import pandas as pd

    from projlens_core.analyses.exhibit import Chart, Exhibit, Table
    from projlens_core.library.notebook import NotebookChart

R = TypeVar("R")
Named = TypeVar("Named", "Chart", "Table")


class AnalysisResult(Generic[R]):
    """The result of one analysis of a case. Tables and charts are made when they are first asked for.

    value is the analysis's own typed result, and what to compute with; the rest is what commands and pages show of it.

    >>> import projlens_core as pl
    >>> result = pl.open_case(base="zoo:base", suspect="zoo:clean-1").spectrum()
    >>> result.title, list(result.value[0])
    ('Spectrum', ['suspect'])
    """

    def __init__(self, analysis: Analysis[R], value: R, context: AnalysisContext, options: Options):
        self.value = value
        self._analysis, self._context, self._options = analysis, context, options

    @property
    def title(self) -> str:
        """The analysis's name."""
        return self._analysis.title

    @property
    def question(self) -> str:
        """What it answers."""
        return self._analysis.question

    @cached_property
    def exhibit(self) -> "Exhibit":
        """Headline numbers, charts, tables and notes, as page and report show them."""
        return self._analysis.shown(self.value, self._context, self._options)

    @property
    def failures(self) -> tuple[tuple[str, str], ...]:
        """What was left out: (image, the sentence that says why)."""
        return tuple(self._context.images.failures) if self._analysis.takes else ()

    @cached_property
    def _written(self) -> tuple[dict, list[str]]:
        """JSON and lines, as the analysis's command writes them."""
        return self._analysis.output(self.value, self._context, self._options, lambda: self.exhibit)

    @property
    def data(self) -> dict:
        """All figures and the settings that decide them, ready for JSON: the keys that the command's --json writes."""
        return {key: plain(value) for key, value in self._written[0].items()}

    def to_frame(self, name: str | None = None) -> "pd.DataFrame":
        """The main table, the one that --csv writes, or the table of this name; NotFound, listing them, for any other.

        >>> import projlens_core as pl
        >>> result = pl.open_case(base="zoo:base", suspect="zoo:clean-1").spectrum()
        >>> result.to_frame()["projector"].unique().tolist()
        ['suspect']
        """
        return self._chosen(self.exhibit.tables, name, self._analysis.table, "table").frame.copy()

    def chart(self, name: str | None = None) -> "NotebookChart":
        """The first chart, or the one of this name; NotFound, listing them, for any other.

        >>> import projlens_core as pl
        >>> result = pl.open_case(base="zoo:base", suspect="zoo:clean-1").spectrum()
        >>> result.chart().svg()[:5]
        '<svg '
        """
        from projlens_core.library.notebook import NotebookChart  # only here: it brings Altair

        return NotebookChart(self._chosen(self.exhibit.charts, name, 0, "chart"))

    def _chosen(self, shown: "Sequence[Named]", name: str | None, first: int, kind: str) -> "Named":
        if not shown:
            raise NotFound(f"{self.title} has no {kind} here.")
        by_name = {each.name: each for each in shown}
        if name is not None and name not in by_name:
            raise NotFound(f"{self.title} has no {kind} {name!r}; it has {listed(by_name)}.")
        return shown[first] if name is None else by_name[name]

    def __repr__(self) -> str:
        """The lines that the analysis's command prints."""
        try:
            said = self._written[1]
        except ProjLensError as error:  # a representation must not fail
            said = [str(error)]
        return visible("\n".join([f"{self.title}: {self.question}", *said, *self._left_out]))

    def _repr_html_(self) -> str:
        """What a notebook shows: all text of a suspect escaped, charts as drawings, no script."""
        from projlens_core.library.notebook import as_html  # only here: it brings Altair

        try:
            return as_html(self.exhibit, self._left_out)
        except ProjLensError as error:
            return as_html(self._analysis.exhibit(notes=(str(error),)), self._left_out)

    @property
    def _left_out(self) -> list[str]:
        return [f"left out: {reason}" for _, reason in self.failures]
