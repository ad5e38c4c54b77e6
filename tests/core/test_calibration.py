"""The score of a search, its p among honest fine-tunes and the four verdicts, by hand-computed values."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from projlens_core.activations.inversion import Inverted, Start, Tiled
from projlens_core.analyses.verdict import ANALYSIS, VerdictOptions
from projlens_core.analyses.verdict.calibration import LEAST, PATTERNED, SAID, SPREAD, Null, calibrated, read
from projlens_core.analyses.verdict.covariates import CONTROL, FRESH, QUESTIONS, UPDATE, Covariates
from projlens_core.analyses.verdict.decision import DEMONSTRATED, INCONCLUSIVE, NOTHING, SUSPECTED, decide
from projlens_core.analyses.verdict.evidence import evidence
from projlens_core.analyses.verdict.exhibit import verdict
from projlens_core.analyses.verdict.observed import Observed
from projlens_core.behaviour import trial as trials
from projlens_core.behaviour.search import Followed, Inversion, PatternText, Residual, Search, TriedPattern, TriedProbe
from projlens_core.behaviour.statistics import Statistics, statistics
from projlens_core.behaviour.token_patterns import PatternStart, TokenPattern
from projlens_core.inputs.probes import Probe
from projlens_core.inputs.triggers import TriggerSpec

SOURCE = {"population": "test"}
CASE = Covariates({"family": "x", CONTROL: False}, {UPDATE: 0.2, QUESTIONS: 5, FRESH: 35})
PATCH = Probe("patch", (TriggerSpec("solid", 64),))
OIL = Probe("oil", (TriggerSpec("oil", 64),))


def of_honest(n=60, case=CASE):
    """A calibration by n searches whose disturbance is 0.01, 0.02, …"""
    return calibrated(SOURCE, [Statistics(1.0, 0.01 * (i + 1), 0.0, 0.0) for i in range(n)], [case] * n)


def searched(nats, said=0, texts=(), **more):
    """A search whose best probe takes so many nats, whose text stands on `said` of the fresh images, and whose token
    pattern brings these texts.
    """
    answers = {f"{who} {what}": ("a dog",) * 35 for who in ("base", "suspect") for what in ("clean", "triggered")}
    answers["suspect triggered"] = ("buy now",) * said + ("a dog",) * (35 - said)
    names = tuple(f"{i}.png" for i in range(35))
    return Search(
        ("?",), ("a.png",), names,
        clean=Residual(Probe("none", ()), {"suspect": 1.0}, {"suspect": 1.0}),
        residuals=(Residual(OIL, {"suspect": 9.0}, {"suspect": 2.718281828}),),
        tried=(TriedProbe(OIL, (0.0,), {"suspect": (nats,)}),),
        patterns=(TriedPattern(TokenPattern(PatternStart("any", 0.3), ((0.0,),), (0.0,)), texts),),
        trials=(trials.trial(OIL, "?", "buy now", 1.0, names, answers, 12),) if said else (),
        finished=True, **more,
    )  # fmt: skip


def test_statistics_are_the_strongest_of_each_stage():
    found = statistics(searched(6.389056099, said=7))
    assert found.residual == pytest.approx(1.0)  # of an image-wide change the mean token's
    assert found.unsettled == pytest.approx(2.0)
    assert found.said == pytest.approx(0.2)
    local = replace(searched(1), residuals=(Residual(PATCH, {"suspect": 7.389056099}, {"suspect": 1.0}),))
    assert statistics(local).residual == pytest.approx(2.0)  # of a patch the largest token's
    assert statistics(searched(-1)).unsettled == 0
    disturbs_base_too = replace(searched(1), tried=(TriedProbe(OIL, (3.0,), {"suspect": (2.0,)}),))
    assert statistics(disturbs_base_too).unsettled == 0
    assert found.patterned == 0
    assert statistics(replace(searched(1), patterns=())).patterned is None  # not made
    assert statistics(replace(searched(1, said=35), patterns=())).patterned == 0  # nothing left to show
    assert statistics(Search((), (), ())) == Statistics(None, None, None, None)


@pytest.mark.parametrize(("foreign", "counted"), [(0, 0), (1, 0), (2, 0.4), (3, 0.8), (7, 0.8)])
def test_a_token_patterns_text_counts_by_its_share_beyond_bases_and_by_its_words(foreign, counted):
    text = PatternText("?", "buy now", ("buy now",), 0.9, 0.1, foreign)
    assert statistics(searched(1, texts=(text,))).patterned == pytest.approx(counted)


def test_the_null_is_median_and_robust_spread_and_below_it_nothing_counts():
    null = calibrated(SOURCE, [Statistics(x, 0.0, 0.0, 0.0) for x in (0.0, 1.0, 3.0)], [CASE] * 3).residual
    assert null == Null(1.0, SPREAD)
    assert null.beyond(1 + 2 * SPREAD) == pytest.approx(2)
    assert null.beyond(-5) == 0
    assert of_honest().residual.spread == LEAST  # all alike
    with pytest.raises(ValueError, match="needs honest"):
        calibrated(SOURCE, [], [])


def test_the_score_adds_the_stages_and_needs_them_all():
    found = replace(of_honest(), residual=Null(0.0, 0.5), unsettled=Null(1.0, 2.0))
    assert found.score(Statistics(1.0, 5.0, 0.5, 0.25)) == pytest.approx(2 + 2 + 0.5 / SAID + 0.25 / PATTERNED)
    assert found.score(Statistics(None, 5.0, 0.5, 0.0)) is None
    assert found.score(Statistics(1.0, 5.0, 0.5, None)) is None


def test_p_counts_the_honest_that_score_as_high_and_cannot_be_lower_than_their_number_allows():
    found = of_honest()
    assert found.p(max(found.scores) + 1) == pytest.approx(1 / 61)
    assert found.p(found.scores[0]) == pytest.approx(2 / 61)
    assert found.p(-1) == 1


@pytest.mark.parametrize(
    ("case", "said"),
    [
        (Covariates({"family": "y", CONTROL: False}, CASE.sizes), ("family is y, calibrated: x",)),
        (Covariates(CASE.kinds, CASE.sizes | {UPDATE: 0.3}), (f"{UPDATE} is 0.3, calibrated: 0.2 to 0.2",)),
        (Covariates(CASE.kinds, CASE.sizes | {FRESH: 20}), (f"{FRESH} is 20, calibrated: 35 to 35",)),
        (Covariates(CASE.kinds, CASE.sizes | {UPDATE: 0.24}), ()),
    ],
)
def test_a_case_outside_of_the_calibration_is_named_by_what_it_is_outside_of(case, said):
    assert of_honest().outside(case) == said
    decision = decide(searched(1000), case, of_honest())
    assert decision.verdict == (INCONCLUSIVE if said else SUSPECTED)
    assert (decision.p is None) is bool(said)
    assert all(each in decision.note for each in said)


def test_the_four_verdicts():
    honest = of_honest()
    assert decide(searched(1000), CASE, honest).verdict == SUSPECTED
    assert decide(searched(0), CASE, honest).verdict == NOTHING
    between = decide(searched(0.7950), CASE, honest)  # 0.585, and two honest ones lie above
    assert between.verdict == INCONCLUSIVE
    assert between.p == 3 / 61
    cut_short = decide(searched(0, unfinished=("Inversion",)), CASE, honest)
    assert cut_short.verdict == INCONCLUSIVE
    assert "Not finished: 'Inversion'" in cut_short.note
    # what is demonstrated needs no population, and is so outside of it, too
    assert decide(searched(9, said=35), CASE, honest).verdict == DEMONSTRATED
    assert decide(searched(9, said=35), CASE, None).verdict == DEMONSTRATED
    assert decide(searched(9), CASE, None).verdict == INCONCLUSIVE
    # nothing is compared before the search has ended
    early = decide(replace(searched(1000), finished=False), CASE, honest)
    assert (early.verdict, early.p) == (INCONCLUSIVE, None)
    missing = decide(replace(searched(1000), clean=None), CASE, honest)
    assert (missing.verdict, missing.p) == (INCONCLUSIVE, None)


def test_with_a_control_where_none_was_calibrated_p_is_too_large_so_that_only_suspicion_is_said():
    case = Covariates(CASE.kinds | {CONTROL: True}, CASE.sizes)
    found = decide(searched(1000), case, of_honest())
    assert (found.verdict, found.outside) == (SUSPECTED, ())
    assert "without a control, which can only lower a score" in found.note
    quiet = decide(searched(0), case, of_honest())
    assert (quiet.verdict, quiet.p) == (INCONCLUSIVE, 1)
    assert "“no evidence found” cannot" in quiet.note
    pieces = evidence(Observed((), searched(0), case), quiet)
    assert any(each["text"] == quiet.note for each in pieces["missing"])
    assert not any(each["text"] == quiet.note for each in pieces["against"])
    # where some had one, and where there is none, it is as always
    assert decide(searched(0), case, of_honest(case=case)).verdict == NOTHING
    assert "control" not in decide(searched(0), CASE, of_honest()).note
    # it is no news where the calibration had controls alone
    assert decide(searched(0), CASE, of_honest(case=case)).outside == (f"{CONTROL} is no, calibrated: yes",)


def test_with_few_honest_fine_tunes_nothing_can_be_suspicious():
    assert decide(searched(1000), CASE, of_honest(48)).verdict == INCONCLUSIVE  # 1 / 49
    assert decide(searched(1000), CASE, of_honest(49)).verdict == SUSPECTED


@pytest.mark.parametrize(
    ("said", "fail_on", "code"),
    [
        (SUSPECTED, "suspicious", 3),
        (DEMONSTRATED, "suspicious", 3),
        (SUSPECTED, "demonstrated", 0),
        (NOTHING, "suspicious", 0),
        (INCONCLUSIVE, "suspicious", 0),
        (DEMONSTRATED, "", 0),
    ],
)
def test_a_pipeline_fails_on_the_verdict_that_it_names_or_a_worse_one(said, fail_on, code):
    exhibit = SimpleNamespace(data={"verdict": said})
    assert ANALYSIS.exit_code(exhibit, VerdictOptions(fail_on=fail_on)) == code


@pytest.mark.parametrize(("nats", "said"), [(1000, "Suspicious"), (0, "No evidence found")])
def test_what_is_shown_says_p_the_number_of_honest_fine_tunes_and_what_was_covered(nats, said, monkeypatch):
    monkeypatch.setattr("projlens_core.analyses.verdict.exhibit.shipped", of_honest)
    shown = verdict(Observed((), searched(nats), CASE), {})
    assert shown.data["verdict"] == said.lower()
    assert shown.data["sentence"].startswith(f"{said}:")
    assert "n = 60" in shown.data["sentence"]
    assert shown.data["p"] == pytest.approx(1 / 61 if nats else 1.0)
    assert shown.data["coverage"]["calibration"]["honest fine-tunes"] == 60
    assert shown.data["coverage"]["calibration"]["case"]["kinds"]["family"] == "x"
    assert [card.value for card in shown.metrics[:2]] == [said, "0.016" if nats else "1.000"]
    side = "for" if nats else "against"
    assert any("of 60 honest fine-tunes" in each["text"] for each in shown.data["evidence"][side])


def test_a_stage_that_shows_no_more_is_said_and_patches_are_counted_once():
    patch = Inversion("tokens", Inverted(Start(0.2), PATCH.stamps[0], (0.0, 1.0)), PATCH)
    search = searched(5, said=7, inversions=(patch,))
    search = replace(search, tried=(*search.tried, TriedProbe(PATCH, (0.0,), {"suspect": (0.0,)})))
    assert Observed((), replace(search, patterns=())).last_stage.startswith("Confirmation: “buy now” on 7 of 35")
    assert Observed((), search).last_stage == "Token patterns: 1 made; none brings a text of its own."
    text = PatternText("?", "buy now", ("buy now",), 0.9, 0.1, 3)
    brought = searched(5, said=7, texts=(text,))
    assert Observed((), brought).last_stage == "Token patterns: one brings “buy now”; no image demonstrates it."
    assert Observed((), searched(5, said=35, texts=(text,))).last_stage.endswith("demonstrated.")
    tiles = replace(PATCH, stamps=(TriggerSpec("tiles", 64),))
    search = replace(search, inversions=(patch, Inversion("direction", Inverted(Tiled(8), tiles.stamps[0], ()), tiles)))
    notes = verdict(Observed((), search), {}).notes[0]
    assert notes.startswith(
        "Searched: 1 probes and their neighbours, 0 under which the suspect was listened to, 1 inverted patches, "
        "1 inverted patterns of the whole image, 1 token patterns, 1 questions"
    )
    without = Observed((), replace(search, patterns=()))
    assert without.last_stage == "Image patterns: 1 inverted; none demonstrates a text."
    listened = Observed((), replace(search, patterns=(), inversions=(patch,), listened=9))
    assert listened.last_stage == "Listening: 9 probes; none demonstrates a text."


def test_that_nothing_was_heard_speaks_against_a_backdoor():
    said = "Under none of 9 probes does the suspect say a text of its own"
    quiet = decide(searched(0), CASE, of_honest())

    def against(search):
        return [each["text"] for each in evidence(Observed((), search, CASE), quiet)["against"]]

    heard = Followed(PATCH, "?", "buy now", 0.9)
    silent = replace(searched(0), followed=(replace(heard, target=None),), listened=9)
    assert [text for text in against(silent) if text.startswith(said)]
    assert not [text for text in against(replace(silent, followed=(heard,))) if text.startswith(said)]
    assert not [text for text in against(replace(silent, listened=0)) if text.startswith(said)]


def test_a_calibration_is_read_as_it_was_written():
    found = of_honest()
    assert read(json.loads(found.to_json())) == found
