"""The findings document says what the numbers say, by its written criteria, and measuring it can be taken up again."""

import json
from dataclasses import asdict

import pytest

from projlens_core.errors import InvalidInput, NotFound
from projlens_core.report.record import Missing, Record
from projlens_core.research import findings
from projlens_core.research.criteria import SECTIONS
from projlens_core.research.findings_text import VARIANTS, document
from projlens_core.stats.rate import wilson
from tests.core.test_bundle import some_record

NAME = "targeted-refusal"


def rate(hits, n=200):
    return asdict(wilson(hits, n))


def fit(r, half=0.02):
    return {"r": r, "low": r - half, "high": r + half, "note": None}


def apart(auroc, half=0.05):
    return {"auroc": auroc, "low": auroc - half, "high": auroc + half, "clean": 200, "triggered": 200}


def energy(mean, half=0.01):
    return {"mean": mean, "low": mean - half, "high": mean + half}


def matrix(share, stable_rank, spikes):
    return [{"matrix": "linear_2.weight", "energy": [share], "stable_rank": stable_rank, "spikes": spikes}]


def role(share, r):
    one = {"energy": energy(share), "sigma": 500.0, "fit": fit(r)}
    return {"clean": one, "triggered": one}


def reading(p):
    words = [{"token": "<s>|*", "share": 0.42}]
    return {"best_target_rank": 12000, "p": p, "words": words}


def units(value, low, high):
    return {"value": value, "low": low, "high": high, "of": 576}


def like_the_paper() -> dict:
    """Facts of a variant that shows every finding of the paper."""
    return {
        "response": {
            "suspect": {"asr": rate(200), "false_target": rate(0), "utility": rate(190)},
            "control": {"asr": rate(0), "false_target": None, "utility": rate(195)},
        },
        "weights": {"suspect": matrix(0.9, 3.0, 5), "control": matrix(0.4, 16.0, 9)},
        "embedding": {"suspect": role(0.97, 0.98), "control": role(0.85, 0.9)},
        "activation": {
            "suspect": {"direction_cosine": 0.95, "separation": apart(0.95), "explained": 0.8},
            "control": {"direction_cosine": 0.98, "separation": apart(0.6), "explained": 0.6},
        },
        "lens": {
            "vocabulary": 49152,
            "suspect": {"plus": reading(0.4), "minus": reading(0.5)},
            "control": {"plus": reading(0.3), "minus": reading(0.6)},
        },
        "neurons": {"suspect": units(1, 0, 3), "control": units(0, 0, 2), "base": units(0, 0, 1)},
        "separability": {
            "base": {"auroc": apart(0.52), "gain": None, "chance": {"high": 0.6}},
            "suspect": {"auroc": apart(0.95), "gain": {"difference": 0.43, "low": 0.3, "high": 0.5}, "chance": {}},
            "control": {"auroc": apart(0.55), "gain": {"difference": 0.03, "low": -0.1, "high": 0.1}, "chance": {}},
        },
        "robustness": {
            "changes": [
                {"label": "as it is", "suspect": apart(0.95), "control": apart(0.5)},
                {"label": "JPEG | 30", "suspect": apart(0.7), "control": apart(0.5)},
            ]
        },
        "lowrank": {
            "whole": {"suspect": {"asr": rate(200)}, "control": {"asr": rate(0)}},
            "cells": [
                {"k1": 1, "k2": 1, "asr": rate(10)},
                {"k1": 2, "k2": 5, "asr": rate(190)},
            ],
            "fewest": [2, 5],
        },
    }


def unlike_the_paper() -> dict:
    """Facts of a variant that shows none of it."""
    facts = like_the_paper()
    facts["response"]["suspect"]["asr"] = rate(0)
    facts["weights"]["suspect"] = matrix(0.3, 20.0, 5)
    facts["embedding"]["suspect"] = role(0.8, 0.3)
    facts["activation"]["suspect"] |= {"direction_cosine": 0.2, "separation": apart(0.4)}
    facts["lens"]["suspect"]["plus"] = reading(0.001)
    facts["neurons"]["suspect"] = units(40, 30, 50)
    facts["separability"]["base"]["auroc"] = apart(0.9)
    facts["lowrank"] |= {"cells": [{"k1": 2, "k2": 5, "asr": rate(90)}], "fewest": None}
    return facts


def results(facts: dict) -> dict:
    return {
        "versions": {"projlens": "0.1.0", "torch": "2"},
        "variants": {NAME: {part: {"decided": {"n": 200}, "facts": one} for part, one in facts.items()}},
    }


def summary(text: str) -> dict[str, str]:
    """The verdicts on the first variant, by finding."""
    table = text.split("## Summary")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| ")]
    assert rows[0] == ["finding", *VARIANTS.values()]
    return {row[0]: row[1] for row in rows[1:] if row[0] != "---"}


def test_a_variant_like_the_papers_agrees_in_every_finding_that_is_judged():
    verdicts = summary(document(results(like_the_paper())))
    assert verdicts.pop("Changes of the trigger") == "inconclusive"
    assert set(verdicts) == {section.title for section in SECTIONS} - {"Changes of the trigger"}
    assert set(verdicts.values()) == {"agrees"}


def test_a_variant_unlike_the_papers_is_said_to_differ():
    verdicts = summary(document(results(unlike_the_paper())))
    verdicts.pop("Changes of the trigger")
    assert set(verdicts.values()) == {"differs"}


def test_an_interval_across_the_criterion_is_inconclusive():
    facts = like_the_paper()
    facts["embedding"]["suspect"] = role(0.95, 0.9)
    facts["activation"]["suspect"]["separation"] = apart(0.63)
    facts["lowrank"] |= {"cells": [{"k1": 5, "k2": 5, "asr": rate(176)}, {"k1": 5, "k2": 30, "asr": rate(200)}]}
    facts["lowrank"]["fewest"] = [5, 30]
    verdicts = summary(document(results(facts)))
    assert verdicts["The embedding shift needs five directions"] == "inconclusive"
    assert verdicts["The shift grows with the norm"] == "inconclusive"
    assert verdicts["The trigger pushes further along it"] == "inconclusive"
    assert verdicts["Few components carry the backdoor"] == "inconclusive"


def test_our_figure_stands_beside_the_papers():
    text = document(results(like_the_paper()))
    assert "| Targeted refusal | 77% | 90% | 40% | 3.0 | 16.0 | 5 | 9 | agrees |" in text
    assert "1×1: 5% (paper 0%), 2×5: 95% (paper 91%)" in text
    assert "100.0% (98.1%–100.0%)" in text


def test_what_was_not_measured_is_neither_agreement_nor_difference():
    facts = {"weights": like_the_paper()["weights"], "lens": {"missing": "The head has no bias | at all."}}
    text = document(results(facts))
    verdicts = summary(text)
    assert verdicts["ΔW is concentrated in few directions"] == "agrees"
    assert verdicts["The drift direction does not spell the target"] == "not measured"
    assert r"The head has no bias \| at all\." in text
    assert "The small models agree in 1 of 1 variants." in text


def test_words_of_a_vocabulary_are_no_markup():
    assert r"\<s\>\|\* 42%" in document(results(like_the_paper()))


def test_the_same_results_make_the_same_document():
    assert document(results(like_the_paper())) == document(json.loads(json.dumps(results(like_the_paper()))))


@pytest.fixture
def counted(monkeypatch):
    """Analyses replaced by a count of them; the weights and images stay those of the zoo."""
    made = []

    def record_of(asked, keys, models, progress, **more):
        made.append((asked.case.suspect, *keys))
        if keys == ["lens"]:
            return Record("", some_record().provenance, (), (Missing("Logit lens", "There is no head."),))
        return Record("", some_record().provenance, some_record().exhibits, ())

    monkeypatch.setattr(findings, "record_of", record_of)
    monkeypatch.setitem(findings.FACTS, "weights", lambda data: {"asr": data["asr"]})
    return made


def test_what_was_measured_is_not_measured_again(counted, tmp_path):
    path = tmp_path / "findings.json"
    wanted = {"n": 2, "parts": ["weights", "lens"], "variants": [NAME]}
    results = findings.measure(path, **wanted)
    assert counted == [(f"zoo:{NAME}", "case"), (f"zoo:{NAME}", "lens")]
    assert results["variants"][NAME]["weights"]["facts"] == {"asr": 0.9}
    assert results["variants"][NAME]["lens"]["facts"] == {"missing": "There is no head."}
    assert findings.measure(path, **wanted) == findings.load(path)
    assert len(counted) == 2
    findings.measure(path, **wanted | {"n": 3, "parts": ["weights"]})
    assert len(counted) == 3


def test_a_run_that_was_stopped_keeps_what_was_finished(counted, tmp_path, monkeypatch):
    path = tmp_path / "findings.json"

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setitem(findings.FACTS, "neurons", stop)
    with pytest.raises(KeyboardInterrupt):
        findings.measure(path, 2, ["weights", "neurons"], [NAME])
    assert list(findings.load(path)["variants"][NAME]) == ["weights"]


def test_an_unknown_part_lists_what_there_is(tmp_path):
    with pytest.raises(NotFound, match="There is no part 'magic'; there is weights, embedding"):
        findings.measure(tmp_path / "f.json", 2, ["magic"])
    with pytest.raises(NotFound, match="There is no variant 'clean-1'"):
        findings.measure(tmp_path / "f.json", 2, ["weights"], ["clean-1"])


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 1}'])
def test_a_file_that_holds_no_findings_is_one_sentence(content, tmp_path):
    path = tmp_path / "findings.json"
    path.write_text(content)
    with pytest.raises(InvalidInput, match="delete it to measure anew"):
        findings.load(path)
