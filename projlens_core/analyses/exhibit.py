"""An exhibit: one analysis of a case as it is shown, told and kept, whoever asks for it.

A page draws an exhibit, a command writes its data, a report prints it, a bundle stores it. All of them therefore say
the same. The exhibit.py of each analysis makes it out of result objects.
"""

from dataclasses import dataclass, field

import altair as alt
import pandas as pd


def with_minus(text: str) -> str:
    """A number's text with a real minus, which a reader does not take for a dash."""
    return text.replace("-", "−")


@dataclass(frozen=True)
class Metric:
    """One headline number, ready as text; control and interval are None where there are none."""

    label: str
    value: str
    control: str | None = None
    interval: str | None = None
    help: str | None = None

    @property
    def line(self) -> str:
        """The number with its interval and the control's, as one line of text."""
        ranges = self.interval is not None and " – " in self.interval
        context = [f"95 % interval {self.interval}" if ranges else self.interval] if self.interval else []
        context += [f"control {self.control}"] if self.control else []
        return f"{self.label}: {self.value}" + (f" ({'; '.join(context)})" if context else "")


@dataclass(frozen=True)
class Chart:
    """A chart by a name for files and anchors. caption says in one sentence how to read it; alt what is in it."""

    name: str
    chart: alt.TopLevelMixin
    caption: str
    alt: str


# Columns whose names files and scripts have kept, and how people read them.
_HEADINGS = {"picture": "image", "top 5 hold": "energy in the top 5"}


def heading(column: str) -> str:
    """What stands above a column where people read the table; in files it keeps its name."""
    return _HEADINGS.get(column, column)


@dataclass(frozen=True)
class Table:
    """A table by a name for files. help: meaning and unit of a column, by its name, where they are not plain."""

    name: str
    frame: pd.DataFrame
    caption: str
    help: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Exhibit:
    """What one analysis found about a case.

    key names it in files and addresses ("lens"); question is what it answers. metrics come first, then charts, then
    tables. data is the same as JSON-ready values: the keys that `projlens_core COMMAND --json` writes. notes are
    sentences that a reader has to bear in mind: what was left out, not compared, or is inconclusive.
    """

    key: str
    title: str
    question: str
    metrics: tuple[Metric, ...] = ()
    charts: tuple[Chart, ...] = ()
    tables: tuple[Table, ...] = ()
    data: dict = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def table(self, name: str) -> Table:
        """The table of this name; StopIteration where there is none."""
        return next(each for each in self.tables if each.name == name)

    def charts_of(self, name: str) -> tuple[Chart, ...]:
        """The charts whose names begin like this, as those of one kind for several projectors do."""
        return tuple(each for each in self.charts if each.name.startswith(name))
