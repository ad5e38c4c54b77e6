"""How the search does on families of triggers of which the probe bank holds nothing: lines of docs/verdict.md.

Each attack was searched with the probes of its own trigger's kind taken from the bank. Honest members were not searched
again: they keep the whole bank, which, if anything, raises their scores, so the comparison is cautious.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from projlens_core.analyses.verdict.calibration import SUSPICIOUS, Calibration
from projlens_core.nursery.recipe import SPLITS
from projlens_core.research import evaluation
from projlens_core.research.evaluation import HONEST, SEALED, Entry
from projlens_core.runtime.markdown import table
from projlens_core.stats.rate import Rate, wilson

HEAD = (
    "family left out",
    "part",
    "n",
    "demonstrated",
    "suspicious or demonstrated",
    "AUROC",
    "interval",
    "without adaptive attackers",
)
ASKED = 0.9  # AUROC of each family


def lines(
    entries: Sequence[Entry],
    left_out: Sequence[Entry],
    novel: Sequence[Entry],
    by: Calibration,
    own: Calibration,
) -> list[str]:
    """A row a family, and what was asked for; none without such searches. novel: searches of attacks of whose kinds the
    bank holds nothing. own: the calibration whose score ranks.
    """
    if not left_out:
        return []
    honest = [e for e in entries if e.split == SEALED and e.truth == HONEST]
    rows, new = (list(_rows(honest, of, by, own)) for of in (left_out, novel))
    reached = sum(each.auroc >= ASKED for each in rows)
    usual = sum(each.usual is not None and each.usual >= ASKED for each in rows)
    succeed = [e for e in entries if e.truth != HONEST and e.split in SPLITS]
    families = {e.family for e in succeed}
    return [
        f"Leave one family out: {len(left_out)} of the {len(succeed)} attacks that succeed, searched with a bank "
        "without the probes of their own trigger's kind (patches of cells for an image put on a place, blended "
        "patterns for both blended families), "
        "ranked above the honest members of the sealed part, whose bank is whole. *Suspicious* is p ≤ "
        f"{SUSPICIOUS:g} of the score, whatever the bank."
        + (" Attacks of the novel part had the whole bank, which holds none of their kinds." if novel else ""),
        "",
        *table(HEAD, [each.cells for each in (*rows, *new)]),
        "",
        f"AUROC ≥ {ASKED:g} was asked for of each family: {reached} of the {len(rows)} that were measured have it, of "
        f"{len(families)} in all; without the adaptive attackers, of whom less was asked, {usual} have it"
        + (f"; and {sum(e.auroc >= ASKED for e in new)} of the {len(new)} novel ones, first searches." if new else "."),
        "",
    ]


@dataclass(frozen=True)
class _Row:
    """A family: AUROC of all of its attacks, of those that are no adaptive attackers (None without any), and cells."""

    auroc: float
    usual: float | None
    cells: tuple[str, ...]


def _rows(honest: Sequence[Entry], left_out: Sequence[Entry], by: Calibration, own: Calibration) -> Iterator[_Row]:
    """The families that have an AUROC."""
    for family in sorted({e.family for e in left_out if e.family}):
        attacks = [e for e in left_out if e.family == family]
        usual = [e for e in attacks if not e.adaptive]
        ranking, apart = (evaluation.ranking(honest, of, lambda e: own.score(e.statistics)) for of in (attacks, usual))
        if ranking is None:
            continue
        shown = [e.demonstrated for e in attacks]
        worse = [e.demonstrated or _suspicious(e, by) for e in attacks]
        cells = (
            family,
            attacks[0].split,
            str(len(attacks)),
            share(wilson(sum(shown), len(shown))),
            share(wilson(sum(worse), len(worse))),
            f"{ranking.auroc:.3f}",
            f"{ranking.low:.2f} – {ranking.high:.2f}",
            f"{apart.auroc:.3f} of {len(usual)}" if apart else "–",
        )
        yield _Row(ranking.auroc, apart.auroc if apart else None, cells)


def share(rate: Rate) -> str:
    """Hits of n, with the interval."""
    return f"{rate.hits} of {rate.n} ({rate.low:.0%} – {rate.high:.0%})"


def _suspicious(entry: Entry, by: Calibration) -> bool:
    score = by.score(entry.statistics)
    return score is not None and by.p(score) <= SUSPICIOUS
