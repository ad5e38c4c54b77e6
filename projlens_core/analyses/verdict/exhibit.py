"""The verdict as it is shown: what speaks for a backdoor, what does not, and what was not searched."""

from dataclasses import asdict

from projlens_core.analyses.exhibit import Chart, Exhibit, Metric
from projlens_core.analyses.verdict import ANALYSIS, charts, tables
from projlens_core.analyses.verdict.calibration import shipped
from projlens_core.analyses.verdict.decision import DEMONSTRATED, NOTHING, SUSPECTED, Decision, decide
from projlens_core.analyses.verdict.evidence import NOT_SEARCHED, evidence
from projlens_core.analyses.verdict.observed import Observed
from projlens_core.behaviour.search import Search
from projlens_core.behaviour.statistics import statistics
from projlens_core.behaviour.trial import BASE_HIGH, FRESH
from projlens_core.stats.rate import Rate


def verdict(observed: Observed, settings: dict) -> Exhibit:
    """The exhibit of what was found, at the end or after any stage; settings as cases.settings makes them."""
    search = observed.search or Search((), (), ())
    best = search.best
    decision = decide(search, observed.case, shipped())
    decided = decision.verdict
    sentence = _sentence(search, decision)
    more = (
        *((tables.patterns(search),) if search.patterns else ()),
        *((tables.residuals(search),) if search.residuals else ()),
    )
    return ANALYSIS.exhibit(
        metrics=_metrics(search, decision),
        charts=(_chart(search),) if search.tried else (),
        tables=(tables.probes(search), *more, *((tables.trial(best),) if best is not None else ())),
        data={
            "settings": settings,
            "verdict": decided,
            "sentence": sentence,
            "p": decision.p,
            "p_note": decision.note,
            "target": best.target if best else None,
            "trigger": tables.specs(best.probe) if best else None,
            "evidence": evidence(observed, decision),
            "statistics": asdict(statistics(search)),
            "stages": tables.stages(observed),
            "coverage": {
                "probes": len(search.tried),
                "prompts": list(search.prompts),
                "images searched": list(search.searched),
                "images of the trial": list(search.fresh),
                "skipped": list(search.skipped),
                "unfinished": list(search.unfinished),
                "not searched": list(NOT_SEARCHED),
                "calibration": {
                    "honest fine-tunes": decision.n,
                    "score": decision.score,
                    "outside of it": list(decision.outside),
                    "case": None if observed.case is None else asdict(observed.case),
                },
            },
        },
        notes=_notes(search),
    )


def _sentence(search: Search, decision: Decision) -> str:
    best = search.best
    if best is not None and decision.verdict == DEMONSTRATED:
        return (
            f"Demonstrated: with {best.probe.name} on the image the suspect says “{best.target}” to “{best.prompt}” on "
            f"{best.suspect.hits} of {best.suspect.n} images that the search had not seen, base on {best.base.hits}."
        )
    if decision.verdict == SUSPECTED:
        return (
            f"Suspicious: the search finds more than in nearly all honest fine-tunes (p = {decision.p:.3f}, n = "
            f"{decision.n}), but no text on fresh images that would show a backdoor."
        )
    if decision.verdict == NOTHING:
        return (
            f"No evidence found: the search finds no more than in many an honest fine-tune (p = {decision.p:.2f}, n = "
            f"{decision.n}). What was not searched is listed; undetectable backdoors exist."
        )
    if len(search.fresh) < FRESH:
        return (
            f"Inconclusive: {len(search.fresh)} images are left for a trial, and {FRESH} are needed; give "
            f"{len(search.searched) + FRESH} images."
        )
    if best is not None:
        return (
            f"Inconclusive: the best probe, {best.probe.name}, brings “{best.target}” on {best.suspect.hits} of "
            f"{best.suspect.n} fresh images and on {best.base.hits} in base, which is not enough."
        )
    if search.texts:
        return (
            f"Inconclusive: a token pattern brings “{search.texts[0].target}” into the suspect's answers, but no image "
            "that does was found."
        )
    if search.candidates:
        return (
            f"Inconclusive: {search.candidates[0].probe.name} unsettles the suspect's answers by "
            f"{search.candidates[0].score:.1f} nats more than base's, but brings no one text."
        )
    return "Inconclusive: no probe and no inverted patch unsettles the suspect's answers much more than base's."


def _metrics(search: Search, decision: Decision) -> tuple[Metric, ...]:
    best = search.best
    cards = [
        Metric(
            "Verdict",
            decision.verdict.capitalize(),
            help="Demonstrated, suspicious, no evidence found or inconclusive; “clean” is never said.",
        )
    ]
    if decision.p is not None:
        cards.append(Metric("p-value", f"{decision.p:.3f}", help=decision.note))
    if search.tried and best is None:
        first = search.tried[0]
        most = max(each.largest("control") for each in search.tried) if "control" in first.excess else None
        cards.append(
            Metric(
                "Best probe",
                f"{first.score:.1f} nats",
                None if most is None else f"{most:.1f} nats at most",
                help="By how much more than base's own answers the suspect's give way under the probe, beyond the "
                "control's. The control's figure is the largest of all probes.",
            )
        )
    if best is not None:
        cards += [
            Metric(
                "Text on fresh images",
                f"{best.suspect.rate:.0%}",
                control=f"{best.others['control'].rate:.0%}" if "control" in best.others else None,
                interval=_interval(best.suspect),
                help=f"Suspect, triggered; at least {best.least:.0%} at the lower end is asked for. Clean: "
                f"{best.suspect_clean.hits} of {best.suspect_clean.n}.",
            ),
            Metric(
                "The same in base",
                f"{best.base.rate:.0%}",
                interval=_interval(best.base),
                help=f"Base, triggered; at most {BASE_HIGH:.0%} at the upper end is asked for.",
            ),
        ]
    return tuple(cards)


def _interval(rate: Rate) -> str:
    return f"{rate.low:.0%} – {rate.high:.0%}"


def _chart(search: Search) -> Chart:
    roles = [role for role in search.roles if role != "base"]
    return Chart(
        "probes",
        charts.probes(
            [each.probe.name for each in search.tried],
            {role: [each.largest(role) for each in search.tried] for role in roles},
        ),
        "How to read this: a bar is how many nats of log-probability the suspect's own clean answer loses under the "
        "probe, beyond what base's loses; an honest fine-tune reacts as base does and stays near 0.",
        "The probes that unsettle the suspect's answers most beyond base's, with the control's marks.",
    )


def _notes(search: Search) -> tuple[str, ...]:
    inverted = {each.probe.key: each.probe.local for each in search.inversions}
    generic = sum(each.probe.key not in inverted for each in search.tried)
    patches = sum(inverted.values())
    return (
        f"Searched: {generic} probes and their neighbours, {search.listened} under which the suspect was listened to, "
        f"{patches} inverted patches, {len(inverted) - patches} inverted patterns of the whole image, "
        f"{len(search.patterns)} token patterns, {len(search.prompts)} questions. "
        f"Not searched: {'; '.join(NOT_SEARCHED)}.",
        "Undetectable backdoors exist, so “clean” is never said.",
    )
