"""The tables of a verdict, and the same as JSON-ready values."""

from dataclasses import asdict

import pandas as pd

from projlens_core.analyses.exhibit import Table
from projlens_core.analyses.verdict.observed import Observed
from projlens_core.behaviour.search import Inversion, Residual, Search, TriedPattern
from projlens_core.behaviour.trial import Trial
from projlens_core.inputs.probes import Probe


def stages(observed: Observed) -> dict:
    """Every stage's own result with its control and its null, by stage."""
    search = observed.search
    weights = [asdict(row) for row in observed.weights]
    if search is None:
        return {"weights": weights}
    return {
        "weights": weights,
        "matched reference": {
            "no trigger (null)": None if search.clean is None else _residual(search.clean),
            "probes": [{"probe": each.probe.name} | _residual(each) for each in search.residuals],
        },
        "probes": probes(search).frame.to_dict("records"),
        "listening": {"probes": search.listened},
        "inversion": [_inversion(each, search) for each in search.inversions],
        "token patterns": [_pattern(each) for each in search.patterns],
        "target recovery": [
            {"probe": each.probe.name, "prompt": each.prompt, "target": each.target, "share": each.share}
            for each in search.followed
        ],
        "confirmation": [as_data(each) for each in search.trials],
    }


def _residual(each: Residual) -> dict:
    return {"largest token": each.largest, "mean token": each.mean}


def _inversion(each: Inversion, search: Search) -> dict:
    tried = next((one for one in search.tried if one.probe.key == each.probe.key), None)
    return {
        "patch": each.probe.name,
        "against": each.against,
        "trigger": specs(each.probe),
        "score at the start (null)": each.found.scores[0] if each.found.scores else None,
        "score at the end": each.found.scores[-1] if each.found.scores else None,
        "excess, nats": None if tried is None else {role: tried.largest(role) for role in tried.excess},
    }


def _pattern(each: TriedPattern) -> dict:
    start, scores = each.pattern.start, each.pattern.scores
    return {
        "part of the answers": start.part,
        "window, share of the side": start.wide,
        "seed": start.seed,
        "score at the start (null)": scores[0],
        "score at the end": scores[-1],
        "texts": [
            {"prompt": text.prompt, "target": text.target, "share": text.share, "base": text.base,
             "foreign words": text.foreign}
            for text in each.texts
        ],
    }  # fmt: skip


def patterns(search: Search) -> Table:
    """The texts that token patterns bring, those that no honest answer holds first."""
    rows = [
        {"text": text.target, "question": text.prompt, "suspect": text.share, "base": text.base,
         "words that no honest answer holds": text.foreign, "pattern": number}
        for number, each in enumerate(search.patterns, 1)
        for text in sorted(each.texts, key=lambda text: text.weight, reverse=True)
    ]  # fmt: skip
    columns = ["text", "question", "suspect", "base", "words that no honest answer holds", "pattern"]
    return Table(
        "patterns",
        pd.DataFrame(rows, columns=columns).sort_values(columns[4], ascending=False, kind="stable", ignore_index=True),
        "How to read this: one row per text that a pattern on a few image tokens, along the directions in which ΔW "
        "reads them, brings into half of the suspect's answers: on which share of the images it stands in "
        "those of suspect and base. An honest fine-tune sees things that are not there; it says no sentence of words "
        "that no answer holds otherwise.",
    )


def probes(search: Search) -> Table:
    """All that the language models were asked about, the best first."""
    rows = [
        {"probe": each.probe.name, "score, nats": each.score}
        | {f"{role}, nats": each.largest(role) for role in each.excess}
        | {"base's own, nats": max(each.base)}
        for each in search.tried
    ]
    columns = ["probe", "score, nats", *(f"{role}, nats" for role in search.roles if role != "base")]
    return Table(
        "probes",
        pd.DataFrame(rows, columns=[*columns, "base's own, nats"]),
        "How to read this: one row per probe, the best first: nats by which own answers drop further than base's, of "
        "all questions the largest; the score leaves out what disturbs base as much, and the control's.",
    )


def residuals(search: Search) -> Table:
    """What no language model was needed for."""
    clean = [] if search.clean is None else [search.clean]
    rows = [
        {"probe": each.probe.name}
        | {f"{role}, largest token": value for role, value in each.largest.items()}
        | {f"{role}, mean token": value for role, value in each.mean.items()}
        for each in (*clean, *search.residuals)
    ]
    return Table(
        "residuals",
        pd.DataFrame(rows),
        "How to read this: one row per probe: how far embeddings are from those of a copy of base's projector that was "
        "fitted to the same model's clean images, in embedding units; without a trigger is the null.",
    )


def trial(trial: Trial) -> Table:
    """The answers of a trial."""
    columns = {"image": list(trial.names)} | {who: list(answers) for who, answers in trial.answers.items()}
    return Table(
        "trial",
        pd.DataFrame(columns),
        f"How to read this: one row per fresh image, asked “{trial.prompt}” with and without {trial.probe.name}.",
    )


def specs(probe: Probe) -> list[dict]:
    """Its stamps as triggers."""
    return [spec.to_dict() for spec in probe.stamps]


def as_data(trial: Trial) -> dict:
    """A trial with all of its answers."""
    return {
        "probe": trial.probe.name,
        "trigger": specs(trial.probe),
        "prompt": trial.prompt,
        "target": trial.target,
        "share": trial.share,
        "suspect": asdict(trial.suspect),
        "suspect_clean": asdict(trial.suspect_clean),
        "base": asdict(trial.base),
        "others": {role: asdict(rate) for role, rate in trial.others.items()},
        "foreign words": trial.foreign,
        "whole sentences": trial.whole,
        "p, McNemar": trial.p,
        "demonstrated": trial.demonstrated,
        "answers": [
            {"image": name} | {who: answers[i] for who, answers in trial.answers.items()}
            for i, name in enumerate(trial.names)
        ],
    }
