"""What the search is worth on a population: by hand-computed values, and the document by what was measured."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from projlens_core.analyses.context import AnalysisContext, AnalysisInputs
from projlens_core.analyses.verdict import VerdictOptions, calibration
from projlens_core.analyses.verdict.calibration import read
from projlens_core.analyses.verdict.covariates import Covariates, covariates
from projlens_core.analyses.verdict.searching import bank_of, searcher_of
from projlens_core.behaviour.statistics import Statistics
from projlens_core.cases.case import Case
from projlens_core.cases.models import Loaded
from projlens_core.inputs.images import load_folder
from projlens_core.research import evaluation, population_text
from projlens_core.research.baselines.entropy import score
from projlens_core.research.baselines.spectral import Linear, features
from projlens_core.research.evaluation import Entry, similarity
from projlens_core.runtime.markdown import renewed
from projlens_core.runtime.paths import SAMPLES
from projlens_core.runtime.progress import silent

CASE = Covariates({"family": "x"}, {"relative size of the change": 0.2, "effective rank of the change": 9.0})


def member(name, value=0.0, truth="honest", split="sealed", **more):
    found = Statistics(value, value, 0.0, 0.0)
    entry = Entry(name, split, "pair", truth, None, None, None, found, CASE, (), False, None, None, None,
                  20.0, name, {}, ())  # fmt: skip
    return replace(entry, **more)


def test_twins_have_one_parent():
    assert member("dev-001-honest").parent == member("dev-001-poisoned").parent == "dev-001"
    assert member("dev-hard-01").parent == "dev-hard-01"


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("Buy now!", "buy  now.", True),
        ("Send money to Bob", "Send your money to Bob", True),
        ("a max on", "Buy now", False),
    ],
)
def test_texts_are_the_same_but_for_case_and_ends(first, second, same):
    assert (similarity(first, second) >= 0.85) is same
    assert similarity(first, first) == 1


def test_a_ranking_counts_pairs_in_order_and_resamples_parents():
    honest = [member(f"{i}-honest", i) for i in range(10)]
    bad = [member(f"{i}-poisoned", i + 8.5, "poisoned") for i in range(10)]
    found = evaluation.ranking(honest, bad, lambda e: e.statistics.residual)
    assert found.auroc == pytest.approx(0.99)  # 8.5 alone lies below 9
    assert found.low < found.auroc < found.high
    assert found.resampled[0] < 0.99
    assert (found.honest, found.poisoned) == (10, 10)
    assert evaluation.ranking(honest, [], lambda e: 0.0) is None
    assert evaluation.ranking(honest, bad, lambda e: None) is None


def test_a_calibration_is_of_honest_members_of_the_first_three_parts_alone():
    entries = [member(f"d{i}", i / 15, split="development") for i in range(60)]
    others = [member("t", 99.0, split="test"), member("p", 99.0, "poisoned", split="development"),
              member("u", split="development", statistics=Statistics(None, 1.0, 0.0, 0.0))]  # fmt: skip
    by = evaluation.calibration([*entries, *others], {"population": "x"})
    assert by.n == 60
    assert by == evaluation.calibration(entries, {"population": "x"})
    more = member("s", 99.0), member("f", 99.0, split="fresh")
    assert evaluation.calibration([*entries, *more], {"population": "x"}).n == 62
    rows = evaluation.row("all", [member("a", 99.0), member("b"), member("c", demonstrated=True)], by)
    assert (rows.demonstrated.hits, rows.suspicious_or_worse.hits, rows.inconclusive.hits) == (1, 2, 0)
    found = member("f", demonstrated=True, target="buy now", wanted="Buy now!", elicited=(0.7, 0.0))
    assert evaluation.row("", [found, replace(found, elicited=(0.7, 0.2))], by).elicited.hits == 1


def test_spectral_features_by_hand_and_their_linear_model():
    found = features({"w": torch.diag(torch.tensor([3.0, 4.0])), "bias": torch.ones(2)})
    share = np.array([16, 9]) / 25
    assert found[:3].tolist() == pytest.approx([np.log(5), 0.64, 1.0])
    assert found[3] == pytest.approx(-(share * np.log(share)).sum())
    assert features({"w": torch.zeros(2, 2)}).tolist() == [-20, 0, 0, 0, 0]
    random = np.random.default_rng(0)
    known = np.vstack([random.normal(0, 1, (20, 3)), random.normal(3, 1, (5, 3))])
    model = Linear(known, [False] * 20 + [True] * 5)
    low, high = model.scores(np.array([[0.0, 0.0, 0.0], [3.0, 3.0, 3.0]]))
    assert low < 0 < high
    with pytest.raises(ValueError, match="honest and poisoned"):
        Linear(known, [True] * 25)


def test_attention_entropies_are_compared_in_spreads_of_bases():
    base = torch.tensor([0.0, 2.0]).reshape(2, 1, 1, 1)
    assert score(base + 1, base) == pytest.approx(1 / 2**0.5)
    assert score(base, base) == 0


@pytest.fixture(scope="module")
def entries():
    return population_text.read()


def test_the_document_and_the_shipped_calibration_are_what_was_measured(entries):
    by = population_text.calibrate(entries)
    assert read(json.loads(calibration.SHIPPED.read_text())) == by
    text = population_text.DOCUMENT.read_text(encoding="utf-8")
    lines = population_text.document(
        entries, by, population_text.read(part="left_out"), population_text.read(part="first")
    )
    assert renewed(text, population_text.BEGIN, population_text.END, lines) == text
    assert f"Calibrated on {by.n} honest" in text
    assert all(entry == Entry.from_dict(entry.to_dict()) for entry in entries)


def test_what_was_measured_again_replaces_what_was_known_and_keeps_what_other_detectors_said(entries, monkeypatch):
    known = [replace(e, baselines={"x": 1.0}) for e in entries[:3]]
    again = replace(entries[1], seconds=-1.0, baselines={}, features=())
    new = replace(entries[0], name="another", baselines={"y": 2.0})
    monkeypatch.setattr(population_text, "measured", lambda folder, baselines: [new, again])
    found = {e.name: e for e in population_text.renewed(known, Path("somewhere"), {})}
    assert found.keys() == {e.name for e in known} | {"another"}
    assert found[again.name] == replace(again, baselines={"x": 1.0}, features=known[1].features)
    assert found["another"] == new
    assert found[known[0].name] == known[0]
    assert population_text.renewed(known, None, {}) == sorted(known, key=lambda e: e.name)


def test_no_honest_member_is_demonstrated(entries):
    assert not [e.name for e in entries if e.truth == evaluation.HONEST and e.demonstrated]


def test_a_search_like_those_that_were_calibrated_lies_inside(entries):
    """On any machine, wherever ProjLens is installed: the bank's hash once held the folder that its images lie in."""
    inputs = AnalysisInputs(Case("zoo:tiny-base", "zoo:tiny-injection"), load_folder(SAMPLES, 8))
    context = AnalysisContext(inputs, Loaded("cpu"), silent)
    options = VerdictOptions()
    searcher = searcher_of(context, options)
    case = covariates(context, bank_of(searcher, options), searcher.prompts, fresh=35)
    assert case.kinds == entries[0].case.kinds
