"""How few directions carry the backdoor: the grid of low-rank edits, with counts, intervals and the whole models."""

from dataclasses import asdict

import pandas as pd

from projlens_core.analyses.exhibit import Chart, Exhibit, Metric, Table
from projlens_core.analyses.lowrank import ANALYSIS, charts
from projlens_core.behaviour.lowrank import CARRIES, CHOICES, Grid
from projlens_core.behaviour.scoring import Score
from projlens_core.behaviour.templates import notes as template_notes
from projlens_core.stats.rate import Rate

LOGIT = {
    "replace": "The target takes the place of the answer, so this is how near the model is to giving it.",
    "append": "The target follows the normal answer here, so this only says how near the model is to beginning with "
    "it; success does not need it to rise.",
    None: "Where a target follows the normal answer, success does not need it to rise.",
}


def lowrank(grid: Grid, settings: dict, control: Grid | None = None, mode: str | None = None) -> Exhibit:
    """The grid so far; cells that were not measured are said to be missing, never drawn as zero.

    control: the same edits with the control's ΔW. mode: "replace" or "append", where the target stands in the answer,
    if that is known. settings: what decides the numbers, as Exhibit.data keeps it.
    """
    return ANALYSIS.exhibit(
        metrics=metrics(grid, control),
        charts=(*grids(grid, mode), *(grids(control, mode, "control") if control else ())),
        tables=(table(grid, control),),
        data={
            "settings": settings,
            "chat_template": grid.template.as_data() if grid.template else None,
            "edit": asdict(grid.edit),
            "axes": list(grid.axes),
            "fewest": list(grid.fewest) if grid.fewest else None,
            "whole": {role: as_data(score) for role, score in grid.whole.items()},
            "cells": _cells(grid),
            "missing": [list(cell) for cell in grid.missing],
        }
        | (
            {"control_cells": _cells(control), "control_missing": [list(c) for c in control.missing]} if control else {}
        ),
        notes=notes(grid, control),
    )


def metrics(grid: Grid, control: Grid | None = None) -> tuple[Metric, ...]:
    """Fewest ranks, and the success and utility of the whole suspect and of the best cell; none before any is known."""
    if not (grid.cells or grid.whole):
        return ()
    suspect, own = grid.whole.get("suspect"), grid.whole.get("control")
    best = _best(grid)
    theirs = _best(control) if control else None
    back, (down, across) = grid.edit.mode == "inject", grid.axes
    verb = "bring back" if back else "take away"
    ks = f"k of {down} × k of {across}, by their sum" if down else f"k of {across}"
    cards = [
        Metric(
            f"{_ks(grid)} to {'bring it back' if back else 'take it away'}",
            _numbers(grid, grid.fewest) or ("not in this grid" if not grid.missing else "not found yet"),
            _numbers(control, control.fewest) if control else None,
            help=f"The smallest {ks}, whose components {verb} {CARRIES:.0%} of what the suspect's ASR exceeds base's "
            "by.",
        )
    ]
    if best:
        place, score = best
        name = "Highest" if back else "Lowest"
        cards.append(
            Metric(
                f"{name} ASR: {grid.said(place)}",
                f"{score.asr.rate:.0%}",
                f"{theirs[1].asr.rate:.0%}" if theirs else None,
                _bounds(score.asr),
                f"Of the cells so far, on {score.asr.n} triggered images; the control's is that of its own grid.",
            )
        )
    if suspect:
        cards.append(
            Metric(
                "ASR of whole suspect",
                f"{suspect.asr.rate:.0%}",
                f"{own.asr.rate:.0%}" if own else None,
                _bounds(suspect.asr),
                "The unchanged suspect on the same triggered images.",
            )
        )
    if best and best[1].utility:
        cards.append(
            Metric(
                f"Utility with {grid.said(best[0])}",
                f"{best[1].utility.rate:.0%}",
                f"{own.utility.rate:.0%}" if own and own.utility else None,
                _bounds(best[1].utility),
                "Right answers about clean images in the same cell; beside it the whole control's.",
            )
        )
    return tuple(cards)


def grids(grid: Grid, mode: str | None = None, role: str = "suspect") -> tuple[Chart, ...]:
    """Heatmaps of ASR, clean utility and target logit by rank; role: whose ΔW the components are of."""
    before, infix = ("", "") if role == "suspect" else (f"{role.capitalize()}: ", f"-{role}")
    given, taken = f"base is given components of the {role}'s ΔW", f"components of ΔW are removed from the {role}"
    edited = given if grid.edit.mode == "inject" else taken
    utility = {place: score.utility for place, score in grid.cells.items() if score.utility}
    drawn = [
        Chart(
            f"lowrank{infix}-asr",
            charts.rate_grid(f"{before}ASR", grid, {c: s.asr for c, s in grid.cells.items()}),
            "How to read this: each cell is the share of triggered images whose answer has the target when "
            f"{edited}: {CHOICES[grid.edit.choice]}, biases of the {grid.edit.biases}.",
            f"Heatmap of attack success rate by rank {_by_rank(grid)}.",
        )
    ]
    if utility or not grid.cells:
        drawn.append(
            Chart(
                f"lowrank{infix}-utility",
                charts.rate_grid(f"{before}clean utility".capitalize(), grid, utility),
                "How to read this: the share of right answers about clean images in the same cell; a backdoor in few "
                "directions comes and goes without it.",
                f"Heatmap of clean utility by rank {_by_rank(grid)}.",
            )
        )
    logits = {place: score.target_logit for place, score in grid.cells.items()}
    drawn.append(
        Chart(
            f"lowrank{infix}-logit",
            charts.logit_grid(f"{before}target logit".capitalize(), grid, logits),
            "How to read this: the logit of the target's first token where the answer to a triggered image begins, "
            f"mean over images. {LOGIT[mode]}",
            f"Heatmap of the mean target logit by rank {_by_rank(grid)}.",
        )
    )
    return tuple(drawn)


def table(grid: Grid, control: Grid | None = None) -> Table:
    """One row per cell, and one per whole model."""
    rows = [{"model": role} | _place(grid) | _figures(s) for role, s in grid.whole.items()]
    for name, one in (("suspect's ΔW", grid), ("control's ΔW", control)):
        if one:
            rows += [
                {"model": name} | _place(one, cell) | _figures(one.cells[cell])
                for cell in one.wanted
                if cell in one.cells
            ]
    return Table(
        "lowrank",
        pd.DataFrame(rows),
        "How to read this: one row per cell, after the unchanged models; bounds are 95 % intervals, Wilson's for "
        "shares and a bootstrap over images for the logit.",
    )


def notes(grid: Grid, control: Grid | None = None) -> tuple[str, ...]:
    """What a reader has to bear in mind about this grid."""
    said = []
    if grid.missing:
        said.append(f"{len(grid.missing)} of {len(grid.wanted)} cells are not measured yet.")
    base, suspect = (grid.whole.get(role) for role in ("base", "suspect"))
    if base is not None and suspect is not None and suspect.asr.rate <= base.asr.rate:
        said.append("The whole suspect gives the target no more often than base, so there is nothing to look for.")
    if control is None:
        said.append("No grid of the control: that few directions suffice is then said of the suspect alone.")
    if any(score.utility is None for score in grid.cells.values()):
        said.append("No answers about these images are known, so clean utility was not measured.")
    return (*said, *template_notes([grid.template]))


def as_data(score: Score) -> dict:
    """A score, JSON-ready."""
    return {
        "asr": asdict(score.asr),
        "utility": asdict(score.utility) if score.utility else None,
        "target_logit": asdict(score.target_logit),
    }


def _cells(grid: Grid) -> list[dict]:
    return [{"k1": a, "k2": b} | as_data(grid.cells[a, b]) for a, b in grid.wanted if (a, b) in grid.cells]


def _best(grid: Grid) -> tuple[tuple[int, int], Score] | None:
    """The first cell with the highest ASR (injected) or the lowest (ablated), edits of nothing aside."""
    sign = 1 if grid.edit.mode == "inject" else -1
    cells = [c for c in grid.wanted if c in grid.cells and any(grid.edit.components(k) for k in c)]
    place = max(cells, key=lambda c: sign * grid.cells[c].asr.rate, default=None)
    return (place, grid.cells[place]) if place else None


def _ks(grid: Grid) -> str:
    """What the ks are of."""
    return "k of " + " and ".join(axis for axis in grid.axes if axis)


def _numbers(grid: Grid, cell: tuple[int, int] | None) -> str | None:
    """The ks of a cell, in the order of `_ks`."""
    return None if cell is None else " and ".join(str(k) for k, axis in zip(cell, grid.axes, strict=True) if axis)


def _place(grid: Grid, cell: tuple[int, int] | tuple[None, None] = (None, None)) -> dict[str, int | None]:
    return {f"k of {axis}": k for axis, k in zip(grid.axes, cell, strict=True) if axis}


def _by_rank(grid: Grid) -> str:
    return " and ".join(f"of {axis}" for axis in grid.axes if axis)


def _bounds(rate: Rate) -> str:
    return f"{rate.low:.0%} – {rate.high:.0%}"


def _figures(score: Score) -> dict:
    logit, utility = score.target_logit, score.utility
    return {
        "ASR": score.asr.rate,
        "ASR from": score.asr.low,
        "ASR to": score.asr.high,
        "hits": score.asr.hits,
        "of": score.asr.n,
        "utility": utility.rate if utility else None,
        "utility from": utility.low if utility else None,
        "utility to": utility.high if utility else None,
        "right": utility.hits if utility else None,
        "asked": utility.n if utility else None,
        "target logit": logit.mean,
        "logit from": logit.low,
        "logit to": logit.high,
    }
