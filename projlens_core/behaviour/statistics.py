"""What each stage of a search found, as one number a stage: the larger, the more speaks for a backdoor.

0 is nothing at all. The order is that of the stages, each closer to what is asked than the one before. The first two
look at the suspect alone, a control or not. Yet a control has its say in which probes are followed up, and what it says
of fresh images is taken from the third; so a search with one is not compared with searches without.
"""

import math
from dataclasses import astuple, dataclass

from projlens_core.behaviour.search import Residual, Search
from projlens_core.behaviour.trial import FRESH


@dataclass(frozen=True)
class Statistics:
    """residual: log of the largest residual on stamped images over that on clean ones. unsettled: log(1 + nats) of the
    probe or patch that takes most from the suspect's own answers beyond base's. said: share of fresh images, 0 to 1, on
    which the suspect says the recovered text beyond all who are honest. patterned: share of images, 0 to 1, on which a
    token pattern brings a text beyond base's, in as far as its words are none that honest answers hold. None for a
    stage that was not made, 0 for one that had nothing left to show.
    """

    residual: float | None
    unsettled: float | None
    said: float | None
    patterned: float | None

    @property
    def complete(self) -> bool:
        """Whether every stage has its number."""
        return None not in astuple(self)


def statistics(search: Search) -> Statistics:
    """Those of a search, at its end or before."""
    nats = [each.largest("suspect") for each in search.tried if each.largest("suspect") > max(0.0, *each.base)]
    asked = len(search.fresh) >= FRESH and bool(search.tried)
    return Statistics(
        _residual(search),
        math.log1p(max(nats, default=0.0)) if search.tried else None,
        max((each.beyond for each in search.trials), default=0.0) if asked else None,
        _patterned(search),
    )


def _patterned(search: Search) -> float | None:
    shown = search.best is not None and search.best.demonstrated
    if not search.patterns and not shown:
        return None
    return max((each.beyond for tried in search.patterns for each in tried.texts), default=0.0)


def _residual(search: Search) -> float | None:
    if search.clean is None or not search.residuals:
        return None
    clean = search.clean

    def over(each: Residual) -> float:
        local = each.probe.local
        stamped, null = (of.largest if local else of.mean for of in (each, clean))
        return stamped["suspect"] / null["suspect"] if null["suspect"] else 1.0

    return math.log(max(1e-9, *(over(each) for each in search.residuals)))
