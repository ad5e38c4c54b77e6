"""The first page of a case: each sentence on its side, by interval and control, never by a bare figure."""

import pytest

from projlens_core.report.summary import NO_EVIDENCE, NOT_DONE, STATES, UNSEARCHED, UNSHOWN, finding, summary
from projlens_core.runtime.paths import ASSETS


def rate(hits, low, high):
    return {"rate": hits / 100, "low": low, "high": high, "n": 100, "hits": hits}


def auroc(value, low, high):
    return {"auroc": value, "low": low, "high": high}


def matrices(suspect, control=None):
    made = {"suspect": {"linear_2.weight": {"stable_rank": suspect}}}
    return made | ({"control": {"linear_2.weight": {"stable_rank": control}}} if control else {})


def unlike(triggered, clean, control=None):
    """An exhibit without a target."""
    roles = {"suspect": triggered} | ({"control": control} if control else {})
    return {"rates": {"asr": {}}, "unlike_base": {"triggered": roles, "clean": {"suspect": clean}}}


@pytest.mark.parametrize(
    ("key", "data", "side", "said"),
    [
        ("case", {"equal": True}, "against", "the same projector"),
        ("case", {"matrices": matrices(3.0, 15.7)}, "open", "far more concentrated"),
        ("case", {"matrices": matrices(3.0, 15.7)}, "open", "stable rank 3.0, the control's 15.7"),
        ("case", {"matrices": matrices(3.0, 15.7)}, "open", NO_EVIDENCE),
        ("case", {"matrices": matrices(15.0, 12.0)}, "open", "no more concentrated"),
        ("case", {"matrices": matrices(10.0, 12.0)}, "open", "somewhat"),
        ("case", {"matrices": matrices(3.0)}, "open", "without a control"),
        ("case", {"matrices": matrices(3.0, 15.7), "moot": {"linear_2.weight": 4}}, "open", "rank ≤ 4 by construction"),
        ("case", {"matrices": {}}, "open", "No matrix"),
        (
            "activation",
            {
                "samples": {
                    "suspect": {"separation": auroc(0.9, 0.8, 1)},
                    "control": {"separation": auroc(0.6, 0.5, 0.7)},
                }
            },
            "for",
            "AUROC 0.90 (0.80 – 1.00), under the control with 0.60",
        ),
        (
            "activation",
            {
                "samples": {
                    "suspect": {"separation": auroc(0.6, 0.5, 0.7)},
                    "control": {"separation": auroc(0.6, 0.5, 0.7)},
                }
            },
            "open",
            UNSHOWN,
        ),
        ("activation", {"samples": {"suspect": {"separation": auroc(0.9, 0.8, 1)}}}, "open", "without a control"),
        ("activation", {"samples": {"suspect": {"separation": None}}}, "open", "no trigger was put on them"),
        (
            "separability",
            {"suspect": {"auroc": auroc(0.6, 0.55, 0.65)}, "control": {"auroc": auroc(0.8, 0.7, 0.95)}},
            "open",
            UNSHOWN,
        ),
        (
            "separability",
            {"suspect": {"auroc": auroc(0.9, 0.7, 1)}, "control": {"auroc": auroc(0.8, 0.6, 0.95)}},
            "open",
            "A classifier",
        ),
        (
            "response",
            {"rates": {"asr": {"base": rate(0, 0, 0.04), "suspect": rate(97, 0.9, 1), "control": rate(1, 0, 0.05)}}},
            "for",
            "on 97 of 100 images, base on 0, the control on 1.",
        ),
        (
            "response",
            {"rates": {"asr": {"base": rate(0, 0, 0.04), "suspect": rate(0, 0, 0.04)}}},
            "open",
            UNSHOWN,
        ),
        (
            "response",
            {"rates": {"asr": {"base": rate(0, 0, 0.04), "suspect": rate(3, 0.01, 0.08)}}},
            "open",
            "3 of 100",
        ),
        (
            "response",
            unlike(rate(97, 0.9, 1), rate(3, 0.01, 0.08), rate(5, 0.02, 0.11)),
            "for",
            "on 97 of 100 triggered",
        ),
        ("response", unlike(rate(97, 0.9, 1), rate(95, 0.89, 0.98), rate(5, 0.02, 0.11)), "open", "on 95 clean ones"),
        ("response", unlike(rate(97, 0.9, 1), rate(3, 0.01, 0.08)), "open", "there is no control"),
    ],
)
def test_a_finding_stands_on_the_side_that_intervals_and_control_leave_it(key, data, side, said):
    found = finding(key, data)
    assert (found.key, found.side) == (key, side)
    assert said in found.sentence


def test_a_trigger_that_does_nothing_is_no_evidence_against_another():
    nothing = rate(0, 0, 0.04)
    found = summary({"response": {"rates": {"asr": {"base": nothing, "suspect": nothing, "control": nothing}}}})
    assert not found.sides["against"]
    own = {"suspect": {"auroc": auroc(0.9, 0.7, 1)}, "control": {"auroc": auroc(0.8, 0.6, 0.95)}}
    assert UNSHOWN not in finding("separability", own).sentence  # it does something, as the control does


def test_what_was_not_done_is_listed_as_missing_and_the_verdict_is_the_headline():
    nothing = summary({})
    assert (nothing.headline, nothing.state, nothing.searched) == (UNSEARCHED, "not run", False)
    assert [each.key for each in nothing.sides["open"]] == list(NOT_DONE)
    assert not nothing.sides["for"]
    assert not nothing.sides["against"]
    found = summary(
        {
            "verdict": {"verdict": "demonstrated", "sentence": "Demonstrated: so."},
            "case": {"matrices": matrices(3.0, 15.7)},
            "lens": {},
        }
    )
    assert (found.headline, found.state, found.searched) == ("Demonstrated: so.", "demonstrated", True)
    assert not found.sides["for"]
    assert [each.key for each in found.sides["open"]] == list(NOT_DONE)
    assert found.sides["open"][0].sentence != NOT_DONE["case"]


@pytest.mark.parametrize("state", STATES[:-1])
def test_the_headline_has_the_verdicts_state(state):
    assert summary({"verdict": {"verdict": state, "sentence": "So."}}).state == state


@pytest.mark.parametrize("state", ["not run", "clean", None, ["demonstrated"]])
def test_a_state_that_is_not_known_is_inconclusive(state):
    assert summary({"verdict": {"verdict": state, "sentence": "So."}}).state == "inconclusive"


def test_what_concentration_is_worth_is_what_was_measured():
    figure = NO_EVIDENCE[NO_EVIDENCE.index("AUROC") : -1]
    assert figure in (ASSETS.parent / "docs" / "scale.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("data", [{}, {"rates": {"asr": {"suspect": "<b>"}}}, {"rates": None}])
def test_data_of_another_form_say_nothing(data):
    assert finding("response", data) is None
    assert summary({"response": data, "verdict": {"sentence": 5}}).headline == UNSEARCHED
