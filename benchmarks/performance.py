"""docs/performance.md and its plot, written from what `python -m benchmarks` found and keeps in results.json."""

from pathlib import Path

import altair as alt
import pandas as pd

from benchmarks.report import HEADER, Figure, Target, cells, shown_bytes
from projlens_core.runtime.markdown import table
from projlens_core.runtime.paths import DOCS

PLOT = Path("images") / "growth.svg"
WIDTH, HEIGHT = 190, 150  # px, of one panel
OURS, FLOOR = "#0072B2", "#999999"
APPROXIMATIONS = """\
| what | how | error | exact instead |
| --- | --- | --- | --- |
| singular values of a wide ΔW | square roots of the eigenvalues of its Gram matrix, float64 | 1e-12 of σ₁ where σ is \
1 % of it, at most 1e-7 of σ₁ at the very bottom | matrices up to 768 on the shorter side are decomposed directly |
| leading triplets | block Krylov iteration from a seeded start | measured: the residual of every triplet comes with \
it, and one above 5 % of its σ makes all of them exact | `exact=True`; `spectrum --exact` |
| noise edge | σ₁ of the shuffled entries by 40 Lanczos steps | below 1e-4 of the edge, a tenth of what one shuffle \
differs from another by | none: the edge is an estimate by nature |
| answers in a grid of ranks | ended once the verdict is certain | none: the verdict is that of the whole answer | \
`respond` writes whole answers |
"""


def write(found: dict, docs: Path = DOCS) -> None:
    """The page, and the plot if growth was measured; found is what results.json holds."""
    parts = [
        "# Performance",
        "Written by `python -m benchmarks` (`make bench`); do not edit. Each job is done twice on the same inputs, by "
        "ProjLens and by `benchmarks/reference.py`, which does it the straightforward way of a research script; the "
        "results are compared before any time is.",
        _setting(found["environment"]),
        "\n".join(_table(found["jobs"])),
        "\n".join(_said(job) for job in found["jobs"]),
        "## What is approximate",
        APPROXIMATIONS.rstrip(),
    ]
    if growth := found.get("growth"):
        (docs / PLOT).parent.mkdir(parents=True, exist_ok=True)
        chart(growth["points"]).save(docs / PLOT)
        rates = growth["rates"]
        parts += [
            "## How cost grows",
            f"![Time and memory against images, tokens, rank and hidden size, over their floors]({PLOT.as_posix()})",
            "How to read this: ours over the floor, both axes logarithmic. The floor is what the machine itself sets: "
            "the operations that the job cannot do without at the rate of its matrix product "
            f"({rates['single'] / 1e9:.0f} GFLOP/s in float32, {rates['double'] / 1e9:.0f} in float64), or the bytes "
            f"to read at the rate of its memory ({rates['copied'] / 1e9:.0f} GB/s); for memory, beyond that of the "
            "program itself, the arrays that go in and come out. Half of the work of a spectrum, making the Gram "
            "matrix tridiagonal, multiplies a matrix by one vector at a time, and so runs at the rate of the memory, "
            "not at that of the matrix product.",
        ]
    (docs / "performance.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def chart(points: list[dict]) -> alt.VConcatChart:
    """Time above memory, a panel for each axis; both scales logarithmic."""
    wide = pd.DataFrame(points)
    rows = []
    for measure, unit in (("seconds", 1.0), ("memory", 1e6)):
        sides = {"ours": wide[measure], "floor": wide[f"floor_{measure}"]}
        long = pd.concat([wide[["axis", "size"]].assign(value=v / unit, side=side) for side, v in sides.items()])
        title = "seconds" if measure == "seconds" else "MB"
        rows.append(alt.hconcat(*(_panel(long[long["axis"] == axis], axis, title) for axis in wide["axis"].unique())))
    return alt.vconcat(*rows).configure(background="white").configure_view(stroke=None)


def _panel(data: pd.DataFrame, axis: str, title: str) -> alt.Chart:
    return (
        alt.Chart(data[data["value"] > 0], width=WIDTH, height=HEIGHT)
        .mark_line(point=True)
        .encode(
            alt.X("size", title=axis)
            .scale(type="log", nice=False)
            .axis(values=sorted(data["size"].unique()), grid=False),
            alt.Y("value", title=title).scale(type="log", padding=8).axis(tickCount=4, grid=False),
            alt.Color("side", title=None).scale(domain=["ours", "floor"], range=[OURS, FLOOR]),
            alt.StrokeDash("side", title=None).scale(domain=["ours", "floor"], range=[[1, 0], [4, 3]]),
        )
    )


def _setting(environment: dict) -> str:
    versions = ", ".join(f"{name} {environment[name]}" for name in ("python", "torch", "transformers", "numpy"))
    return (
        f"{environment['date'][:10]}, {environment['cpu_count']} cores, {shown_bytes(environment['memory'])}, "
        f"{environment['device']}, {environment['system'].split('-')[0]}; {versions}. Load before the first job: "
        f"{environment['load']}. Times are medians, memory is the most that a fresh process held; “ahead by” is "
        "reference / ours."
    )


def _table(jobs: list[dict]) -> list[str]:
    lines = []
    for job in jobs:
        for number, reported in enumerate(job["figures"]):
            figure = Figure(reported["quantity"], reported["ours"], reported["reference"], Target(**reported["target"]))
            lines.append((job["title"] if number == 0 else "", *cells(figure)))
    return table(HEADER, lines)


def _said(job: dict) -> str:
    failure = job["failure"] and f"No figures: {job['failure']}"
    sentences = [text for text in (failure, job["agreement"], *job["notes"]) if text]
    return f"- **{job['title']}**: {' '.join(text if text.endswith('.') else text + '.' for text in sentences)}"
