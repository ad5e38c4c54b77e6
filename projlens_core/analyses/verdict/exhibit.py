"""The verdict as it is shown: what speaks for a backdoor, what does not, and what was not searched."""

from dataclasses import asdict

import pandas as pd

from projlens_core.analyses.exhibit import Chart, Exhibit, Metric, Table
from projlens_core.analyses.verdict import ANALYSIS, charts
from projlens_core.behaviour.trigger_search import BASE_HIGH, FRESH, SUSPECT_LOW, Search, Trial
from projlens_core.stats.rate import Rate

DEMONSTRATED, INCONCLUSIVE = "demonstrated", "inconclusive"


def verdict(search: Search, settings: dict) -> Exhibit:
    """The exhibit of a search; settings as cases.settings makes them."""
    best = search.best
    decided = DEMONSTRATED if best is not None and best.demonstrated else INCONCLUSIVE
    sentence = _sentence(search, decided)
    tried = _tried(search)
    return ANALYSIS.exhibit(
        metrics=_metrics(search, decided),
        charts=(_chart(search),),
        tables=(tried, *((_trial(best),) if best is not None else ())),
        data={
            "settings": settings,
            "verdict": decided,
            "sentence": sentence,
            "p": best.p if best else None,
            "target": best.target if best else None,
            "trigger": _trigger(best) if best else None,
            "stages": {"probes": tried.frame.to_dict("records"), "trials": [_as_data(t) for t in search.trials]},
            "coverage": {
                "probes": len(search.tried),
                "prompts": list(search.prompts),
                "images searched": list(search.searched),
                "images of the trial": list(search.fresh),
                "not searched": list(NOT_SEARCHED),
            },
        },
        notes=(sentence, *_notes(search)),
    )


NOT_SEARCHED = (
    "triggers that resemble no probe and no neighbour of one",
    "questions other than those asked",
    "triggers in the text of a question",
    "backdoors that change answers without one text in common",
)


def _sentence(search: Search, decided: str) -> str:
    best = search.best
    if decided == DEMONSTRATED:
        return (
            f"Demonstrated: with {best.probe.name} on the image the suspect says “{best.target}” to “{best.prompt}” on "
            f"{best.suspect.hits} of {best.suspect.n} images that the search had not seen, base on {best.base.hits}."
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
    return "Inconclusive: no probe brought a text that base and the suspect's clean answers do not hold."


def _metrics(search: Search, decided: str) -> tuple[Metric, ...]:
    best, first = search.best, search.tried[0]
    cards = [
        Metric("Verdict", decided.capitalize(), help="Demonstrated or inconclusive; “clean” is never said."),
        Metric(
            "Best probe",
            f"{first.excess['suspect']:.1f} nats",
            f"{max(t.excess['control'] for t in search.tried):.1f} nats at most" if "control" in first.excess else None,
            help="By how much more than base's own answers the suspect's give way under the probe. The control's is "
            "the largest of all probes.",
        ),
    ]
    if best is not None:
        cards += [
            Metric(
                "Text on fresh images",
                f"{best.suspect.rate:.0%}",
                interval=_interval(best.suspect),
                help=f"Suspect, triggered; at least {SUSPECT_LOW:.0%} at the lower end is asked for. Clean: "
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
    roles = list(search.tried[0].excess)
    return Chart(
        "probes",
        charts.probes(
            [each.probe.name for each in search.tried],
            {role: [each.excess[role] for each in search.tried] for role in roles},
        ),
        "How to read this: a bar is how many nats of log-probability the suspect's own clean answer loses under the "
        "probe, beyond what base's loses; an honest fine-tune reacts as base does and stays near 0.",
        "The probes that unsettle the suspect's answers most beyond base's, with the control's marks.",
    )


def _tried(search: Search) -> Table:
    rows = [
        {"probe": each.probe.name, **{f"{role}, nats": v for role, v in each.excess.items()}} for each in search.tried
    ]
    return Table(
        "probes",
        pd.DataFrame(rows),
        "How to read this: one row a probe, the best first: nats by which own answers drop further than base's.",
    )


def _trial(trial: Trial) -> Table:
    columns = {"image": list(trial.names)} | {who: list(answers) for who, answers in trial.answers.items()}
    return Table(
        "trial",
        pd.DataFrame(columns),
        f"How to read this: one row a fresh image, asked “{trial.prompt}” with and without {trial.probe.name}.",
    )


def _trigger(trial: Trial) -> list[dict]:
    return [spec.to_dict() for spec in trial.probe.stamps]


def _as_data(trial: Trial) -> dict:
    return {
        "probe": trial.probe.name,
        "trigger": _trigger(trial),
        "prompt": trial.prompt,
        "target": trial.target,
        "share": trial.share,
        "suspect": asdict(trial.suspect),
        "suspect_clean": asdict(trial.suspect_clean),
        "base": asdict(trial.base),
        "p": trial.p,
        "demonstrated": trial.demonstrated,
        "answers": [
            {"image": name} | {who: answers[i] for who, answers in trial.answers.items()}
            for i, name in enumerate(trial.names)
        ],
    }


def _notes(search: Search) -> tuple[str, ...]:
    notes = [
        f"Searched: {len(search.tried)} probes and neighbours, {len(search.prompts)} questions. Not searched: "
        f"{'; '.join(NOT_SEARCHED)}.",
        "“Suspicious” and “no evidence found” are not said yet: they need honest fine-tunes of the same kind to "
        "calibrate on. Undetectable backdoors exist, so “clean” is never said.",
    ]
    if "control" not in search.tried[0].excess:
        notes.append("No control: how far an honest fine-tune's answers give way under these probes is not known.")
    return tuple(notes)
