"""What all charts share: colours by role and condition, the key inside the plot, title and spacing."""

from collections.abc import Iterable
from typing import Any, TypeVar

import altair as alt
from altair.utils import schemapi

from projlens_core.charts import palette

schemapi.disable_debug_mode()  # each piece would be validated as it is made, and again with the whole when it is drawn

ROLES = alt.Scale(domain=["suspect", "control"], range=[palette.SUSPECT, palette.CONTROL])
PROJECTORS = alt.Scale(domain=["base", "suspect", "control"], range=[palette.BASE, palette.SUSPECT, palette.CONTROL])
CONDITIONS = alt.Scale(domain=["clean", "triggered"], range=[palette.CLEAN, palette.TRIGGERED])
# Plot and axis; Streamlit's own limit is of the width that a chart had when it was first drawn, less 40 px.
TITLE_LIMIT: Any = {"expr": "width + 40"}
KEY: dict[str, Any] = {
    "orient": "top-right",
    "title": None,
    "offset": 0,
    "symbolSize": 60,
}  # inside the plot, where curves are low

Drawn = TypeVar("Drawn", bound=alt.TopLevelMixin)


def layered(*charts: alt.Chart | alt.LayerChart) -> alt.LayerChart:
    """Charts over each other, the first at the bottom; none of them is faceted."""
    made = alt.layer(*charts)
    if not isinstance(made, alt.LayerChart):
        raise TypeError(f"layers made a {type(made).__name__}")
    return made


def key_of(drawn: Iterable[str], scale: alt.Scale, **more: Any) -> alt.Legend:
    """The key, as KEY has it, of those values of the scale that are drawn; more: what differs from KEY."""
    return alt.Legend(**KEY | more, values=drawn_of(drawn, scale))


def drawn_of(drawn: Iterable[str], scale: alt.Scale) -> list[str]:
    """Those values of the scale that are drawn, in its order."""
    there = set(drawn)
    return [value for value in scale.to_dict()["domain"] if value in there]


def finished(chart: Drawn, title: str, height: int) -> Drawn:
    """Title and spacing that all charts share; `height` in px, everything included."""
    return (
        chart.properties(
            title=alt.Title(title, anchor="start", offset=4, limit=TITLE_LIMIT),
            height=height,
            padding={"left": 0, "right": 4, "top": 4, "bottom": 6},
        )
        .configure_axis(labelPadding=5, titlePadding=8)
        .configure_axisY(labelFlush=False)  # Streamlit's theme moves the first and last label away from their marks
    )
