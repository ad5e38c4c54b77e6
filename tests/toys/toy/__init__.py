"""The smallest analysis there can be: by how much the trigger changes the mean embedding. See CONTRIBUTING.md."""

from dataclasses import dataclass

import altair as alt
import pandas as pd

from projlens_core.activations.shift import embeddings
from projlens_core.analyses.analysis import Analysis, Options, option
from projlens_core.analyses.exhibit import Chart, Exhibit, Metric, Table


@dataclass(frozen=True)
class ToyOptions(Options):
    scale: float = option(1.0, "factor on every figure", low=0.5, high=10)
    times_two: bool = option(False, "double every figure")


def _measure(context, options: ToyOptions) -> dict[str, float]:
    clean, triggered = context.twin_tokens
    factor = options.scale * (2 if options.times_two else 1)
    return {
        role: factor
        * float((embeddings(weights, triggered[role]) - embeddings(weights, clean[role])).norm(dim=-1).mean())
        for role, weights in context.projectors.items()
    }


def bars(found: dict[str, float]) -> alt.Chart:
    frame = pd.DataFrame({"projector": list(found), "change": list(found.values())})
    return alt.Chart(frame).mark_bar().encode(x="change:Q", y="projector:N")


def _present(found: dict[str, float], context, settings: dict) -> Exhibit:
    frame = pd.DataFrame({"projector": list(found), "change": list(found.values())})
    return ANALYSIS.exhibit(
        metrics=(Metric("Change, suspect", f"{found['suspect']:.3f}", f"{found.get('control', 0):.3f}"),),
        charts=(Chart("change", bars(found), "How to read this: longer is more.", "Mean change by projector."),),
        tables=(Table("change", frame, "How to read this: one row per projector."),),
        data={"settings": settings, "change": found},
    )


ANALYSIS = Analysis(
    key="toy",
    title="Toy",
    question="By how much does the trigger change an embedding?",
    summary="a toy",
    failure="The toy cannot be played",
    floor="activations",
    options=ToyOptions,
    measure=_measure,
    present=_present,
    text=lambda exhibit: [card.line for card in exhibit.metrics],
)
