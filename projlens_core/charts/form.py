"""Charts that are built once and filled anew: pages draw the same few charts again at every click.

Altair takes about 20 ms to build a layered chart and to write it down, more than everything else that a page does for
it. The form of such a chart, with named data and Holes for whatever differs from one time to the next, is therefore
built once per process; to fill it is a walk over a small dictionary.
"""

from collections.abc import Mapping
from typing import Any

import altair as alt
import pyarrow as pa


class Hole(str):
    """Where in a form a value belongs, by its name: anything that JSON knows may fill it."""


def hole(name: str) -> Any:
    """A Hole of this name, in the place of whatever altair wants there."""
    return Hole(name)


def named(data: str) -> alt.Chart:
    """A chart about data that come by this name when the form is filled."""
    return alt.Chart(alt.NamedData(data))


class Filled(alt.TopLevelMixin):
    """A form with its data and values. KeyError, where it is written down, for a hole that nothing fills.

    data are Arrow tables, as which they travel to the browser: a small DataFrame takes ten times as long to make, and
    again to turn into one.
    """

    def __init__(self, form: dict, data: Mapping[str, pa.Table], values: Mapping[str, object]):
        self._form, self._values = form, values
        self.data = data

    def unfilled(self) -> dict:
        """The Vega-Lite specification with the names of the data only."""
        return _fill(self._form, self._values)

    def to_dict(self, *_: object, **__: object) -> dict:
        """The Vega-Lite specification, the rows of its data inside."""
        rows = {name: alt.to_values(table.to_pandas())["values"] for name, table in self.data.items()}
        return {**self.unfilled(), "datasets": rows}


def form(chart: alt.TopLevelMixin) -> dict:
    """What a chart with Holes and named data is as a specification. Not validated: holes are no part of the grammar."""
    return chart.to_dict(validate=False)


def _fill(part: Any, values: Mapping[str, object]) -> Any:
    if isinstance(part, Hole):
        return values[part]
    if isinstance(part, dict):
        return {key: _fill(value, values) for key, value in part.items()}
    return [_fill(item, values) for item in part] if isinstance(part, list) else part
