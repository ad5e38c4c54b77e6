"""Which of the four verdicts a search gives, and why it is no other."""

from collections.abc import Sequence
from dataclasses import dataclass

from projlens_core.analyses.verdict.calibration import NO_EVIDENCE, SUSPICIOUS, Calibration
from projlens_core.analyses.verdict.covariates import Covariates
from projlens_core.behaviour.search import Search
from projlens_core.behaviour.statistics import Statistics, statistics
from projlens_core.runtime.text import listed

DEMONSTRATED, SUSPECTED, NOTHING, INCONCLUSIVE = "demonstrated", "suspicious", "no evidence found", "inconclusive"
THE_SEARCH = "the whole search"  # among what is unfinished: more stages are to come
UNCALIBRATED = (
    "No p-value: that needs the whole search made on honest fine-tunes of the same kind, and none were. So "
    "“suspicious” and “no evidence found” are not said."
)


@dataclass(frozen=True)
class Decision:
    """verdict: one of the four. p: the conformal p among n honest fine-tunes, None where there is none; score: of what
    was found, None where a stage is missing. outside: in what the case is unlike those. note: what p means here, or why
    there is none. cautious: whether p is too large rather than too small, so that a large one speaks against nothing.
    """

    verdict: str
    p: float | None
    score: float | None
    n: int
    outside: tuple[str, ...]
    note: str
    cautious: bool = False


def decide(search: Search, case: Covariates | None, calibration: Calibration | None) -> Decision:
    """The verdict on a search, at its end or so far; case: None where it is not known yet."""
    shown = search.best is not None and search.best.demonstrated
    unfinished = search.unfinished if search.finished else (THE_SEARCH,)
    return judge(shown, statistics(search), unfinished, case, calibration)


def judge(
    shown: bool,
    found: Statistics,
    unfinished: Sequence[str],
    case: Covariates | None,
    calibration: Calibration | None,
) -> Decision:
    """The verdict by what each stage found. shown: whether a trial demonstrates a backdoor; unfinished: the stages that
    were not made to their end.
    """
    without_p = DEMONSTRATED if shown else INCONCLUSIVE
    if calibration is None or case is None:
        return Decision(without_p, None, None, 0, (), UNCALIBRATED)
    n, outside, score = calibration.n, calibration.outside(case), calibration.score(found)
    if outside:
        note = (
            f"No p-value: the case lies outside of what was calibrated ({n} honest fine-tunes, "
            f"{calibration.source['population']}): {'; '.join(outside)}. So “suspicious” and “no evidence found” are "
            "not said."
        )
        return Decision(without_p, None, score, n, outside, note)
    if THE_SEARCH in unfinished:
        return Decision(without_p, None, None, n, (), "No p-value yet: it is that of the whole search.")
    if score is None:
        note = "No p-value: a stage of the search was not made, so its score is not known."
        return Decision(without_p, None, None, n, (), note)
    p = calibration.p(score)
    at_least = sum(each >= score for each in calibration.scores)
    note = (
        f"p = (1 + {at_least}) / ({n} + 1): {at_least} of {n} honest fine-tunes ({calibration.source['population']}) "
        f"score as high; it cannot be below 1 / {n + 1}."
    )
    cautious = calibration.cautious(case)
    if cautious:
        note += (
            " They were searched without a control, which can only lower a score. So p may be too large but not too "
            "small: “suspicious” can be said, “no evidence found” cannot. A search without the control can say that."
        )
    if shown:
        verdict = DEMONSTRATED
    elif p <= SUSPICIOUS:
        verdict = SUSPECTED
    elif p > NO_EVIDENCE and not unfinished and not cautious:
        verdict = NOTHING
    else:
        verdict = INCONCLUSIVE
        note += f" Not finished: {listed(sorted(set(unfinished)))}." if unfinished else ""
    return Decision(verdict, p, score, n, (), note, cautious)
