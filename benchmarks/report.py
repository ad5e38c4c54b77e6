"""What a benchmark found, as numbers with their targets; as a table for people and as JSON for later runs."""

from collections.abc import Sequence
from dataclasses import dataclass, field

TIME, MEMORY, READ = "time", "peak memory", "bytes read"
HELD = "memory"
FLOOR = "floor"  # of a figure: what nothing that does the job gets below
HEADER = ("job", "figure", "ours", "reference", "ahead by", "target", "met")
_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "B"))


class NoFigures(Exception):
    """Why a job has none, in one sentence: the two sides found different results, or a side could not be run."""


@dataclass(frozen=True)
class Target:
    """at_most: the most our figure may be, in seconds or bytes. ahead_by: the least reference / ours may be."""

    at_most: float | None = None
    ahead_by: float | None = None


@dataclass(frozen=True)
class Figure:
    """One quantity of a job, in seconds or, for memory and bytes read, in bytes. reference is None if there is none."""

    quantity: str
    ours: float
    reference: float | None = None
    target: Target = Target()

    @property
    def ratio(self) -> float | None:
        """How many times ours the reference is."""
        return self.reference / self.ours if self.reference is not None and self.ours else None

    @property
    def met(self) -> bool | None:
        """Whether every part of the target is met; None if there is no target."""
        parts = []
        if self.target.at_most is not None:
            parts.append(self.ours <= self.target.at_most)
        if self.target.ahead_by is not None:
            parts.append(self.ratio is not None and self.ratio >= self.target.ahead_by)
        return all(parts) if parts else None

    def as_dict(self) -> dict:
        """The figure with its unit, ratio and verdict."""
        return {
            "quantity": self.quantity,
            "unit": "B" if _in_bytes(self.quantity) else "s",
            "ours": self.ours,
            "reference": self.reference,
            "ratio": self.ratio,
            "target": {"at_most": self.target.at_most, "ahead_by": self.target.ahead_by},
            "met": self.met,
        }


@dataclass(frozen=True)
class Report:
    """One job: its figures, how closely the results agreed, and every single timing in seconds.

    notes: what a reader must know to judge the figures, whole sentences. failure: why there are no figures.
    """

    name: str
    title: str
    figures: tuple[Figure, ...] = ()
    agreement: str | None = None
    notes: tuple[str, ...] = ()
    timings: dict[str, tuple[float, ...]] = field(default_factory=dict)
    failure: str | None = None

    def as_dict(self) -> dict:
        """All of it, ready for JSON."""
        return {
            "name": self.name,
            "title": self.title,
            "agreement": self.agreement,
            "failure": self.failure,
            "figures": [figure.as_dict() for figure in self.figures],
            "timings": {side: list(seconds) for side, seconds in self.timings.items()},
            "notes": list(self.notes),
        }


def table(reports: Sequence[Report]) -> str:
    """All figures, one a row, and under them what each job's results agreed in and what to bear in mind."""
    rows = [HEADER]
    for report in reports:
        for number, figure in enumerate(report.figures):
            rows.append((report.title if number == 0 else "", *cells(figure)))
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADER))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("─" * width for width in widths))
    for report in reports:
        said = [report.failure and f"No figures: {report.failure}", report.agreement, *report.notes]
        lines += ["", f"{report.title} ({report.name})", *(f"  - {sentence}" for sentence in said if sentence)]
    return "\n".join(lines)


def shown_bytes(count: float) -> str:
    """A number of bytes to three digits."""
    size, unit = next(((s, u) for s, u in _UNITS if count >= s), _UNITS[-1])
    return f"{count / size:.3g} {unit}"


def cells(figure: Figure) -> tuple[str, ...]:
    """One figure as a row of the table, without its job."""
    shown = shown_bytes if _in_bytes(figure.quantity) else _shown_seconds
    target = []
    if figure.target.at_most is not None:
        target.append(f"≤ {shown(figure.target.at_most)}")
    if figure.target.ahead_by is not None:
        target.append(f"≥ {figure.target.ahead_by:g}×")
    return (
        figure.quantity,
        shown(figure.ours),
        shown(figure.reference) if figure.reference is not None else "–",
        f"{figure.ratio:.1f}×" if figure.ratio is not None else "–",
        ", ".join(target) or "–",
        {True: "yes", False: "no", None: "–"}[figure.met],
    )


def _shown_seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 100 else f"{seconds:.0f} s"


def _in_bytes(quantity: str) -> bool:
    return quantity.startswith((MEMORY, HELD, READ))
