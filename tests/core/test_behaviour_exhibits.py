"""The exhibits of the Low-rank lab and of Robustness, from results made by hand."""

import json

import pytest

from projlens_core.analyses.lowrank.exhibit import lowrank
from projlens_core.analyses.robustness.exhibit import crossed, robustness
from projlens_core.behaviour.lowrank import Edit, Grid
from projlens_core.behaviour.robustness import Push, TriedChange
from projlens_core.behaviour.scoring import Score
from projlens_core.inputs.changes import ORIGINAL, Change
from projlens_core.report.drawing import specification
from projlens_core.stats.auroc import Separation
from projlens_core.stats.mean import Mean


def score(hits: int, right: int = 8) -> Score:
    """Of ten images."""
    return Score(
        tuple(i < hits for i in range(10)), tuple(float(i) for i in range(10)), tuple(i < right for i in range(10))
    )


@pytest.fixture
def grid():
    """Two of four cells are measured; base never says the target, the suspect always does."""
    whole = {"base": score(0), "suspect": score(10), "control": score(0)}
    return Grid(Edit(), (0, 1), (0, 1), {(0, 0): score(0), (0, 1): score(9)}, whole)


def rows(chart) -> list[dict]:
    """All data of a chart, layer by layer."""
    return [row for data in specification(chart)["datasets"].values() for row in data]


def test_cells_not_measured_yet_say_so_and_are_never_zero(grid):
    asr = lowrank(grid, {}).charts[0]
    drawn = {(row["row"], row["column"]): row["text"] for row in rows(asr.chart)}
    assert drawn == {(0, 0): "0/10", (0, 1): "9/10", (1, 0): "not yet", (1, 1): "not yet"}
    found = lowrank(grid, {})
    assert found.data["missing"] == [[1, 0], [1, 1]]
    assert "2 of 4 cells are not measured yet." in found.notes


def test_cells_tell_their_interval(grid):
    cell = next(row for row in rows(lowrank(grid, {}).charts[0].chart) if row["text"] == "9/10")
    assert cell["interval"] == "59.6% – 98.2%"  # Wilson's for 9 of 10


def test_the_grid_says_how_few_ranks_suffice_beside_the_control(grid):
    control = Grid(Edit(), (0, 1), (0, 1), {(0, 1): score(1)}, grid.whole)
    found = lowrank(grid, {"seed": 0}, control)
    fewest, highest, whole, utility = found.metrics
    assert (fewest.value, fewest.control) == ("0 and 1", None)
    assert (highest.value, highest.control) == ("90%", "10%")
    assert (whole.value, whole.control) == ("100%", "0%")
    assert utility.value == "80%"
    assert found.data["fewest"] == [0, 1]
    assert found.data["settings"] == {"seed": 0}
    assert [chart.name for chart in found.charts[3:]] == [
        "lowrank-control-asr",
        "lowrank-control-utility",
        "lowrank-control-logit",
    ]
    assert len(found.tables[0].frame) == 3 + 2 + 1
    json.dumps(found.data)


def test_before_anything_is_measured_there_is_no_headline():
    found = lowrank(Grid(Edit(), (0,), (0,)), {})
    assert found.metrics == ()
    assert len(found.charts) == 3


def test_a_suspect_that_does_no_more_than_base_is_said_to_be_no_case(grid):
    same = Grid(grid.edit, (0,), (0,), {(0, 0): score(3)}, {"base": score(3), "suspect": score(3)})
    assert any("no more often than base" in note for note in lowrank(same, {}).notes)


def test_what_the_target_logit_means_depends_on_where_the_target_stands(grid):
    logit = {mode: lowrank(grid, {}, mode=mode).charts[2].caption for mode in ("replace", "append")}
    assert "takes the place of the answer" in logit["replace"]
    assert "success does not need it to rise" in logit["append"]


def push(auroc: float, low: float, gain: float, kept: float) -> Push:
    return Push(
        Separation(auroc, low, 1.0, 8, 8),
        Mean(gain, gain - 0.1, gain + 0.1, 8),
        kept,
        Mean(gain - 1, gain - 1.1, gain - 0.9, 8),
        kept - 0.2,
        kept + 0.3,
    )


@pytest.fixture
def tried():
    """The unchanged trigger, a change that works, one that does not, one that cannot be made."""
    return (
        TriedChange(ORIGINAL, {"suspect": push(1.0, 0.8, 2.0, 1.0), "control": push(0.5, 0.2, 0.1, 0.05)}),
        TriedChange(Change(size=0.5), {"suspect": push(0.7, 0.4, 1.2, 0.6), "control": push(0.5, 0.2, 0.1, 0.05)}),
        TriedChange(Change(quality=10), {"suspect": push(0.5, 0.2, 0.0, 0.0), "control": push(0.5, 0.2, 0.0, 0.0)}),
        TriedChange(Change(size=20), {}, "The trigger is too large."),
    )


def test_a_change_works_if_it_keeps_half_of_the_push_beyond_each_images_own_clean_twin(tried):
    """The paired gain decides, by its lower end: 1.2 of 2 is half even so, while an AUROC of 0.7 may be chance."""
    found = robustness(tried, {})
    whole, working, weakest = found.metrics
    assert (whole.value, whole.control, whole.interval) == ("2", "0.1", "1.9 – 2.1")
    assert (working.value, working.control) == ("1 of 2", "0 of 2")
    assert (weakest.value, weakest.control) == ("0%", "0%")
    assert [chart.name for chart in found.charts] == ["robustness-push", "robustness-auroc"]
    assert all("shift alone" in said for said in (working.help, found.charts[0].caption))
    assert weakest.label == "Kept by the weakest, compression JPEG 10"
    assert weakest.interval == "−20% – 30%"


def test_a_change_that_cannot_be_made_is_told_and_not_drawn(tried):
    found = robustness(tried, {}, {ORIGINAL: {"suspect": score(7)}})
    assert found.notes == ("size 20× was not tried: The trigger is too large.",)
    assert {row["change"] for row in rows(found.charts[0].chart) if "change" in row} == {
        "unchanged", "size 0.5×", "compression JPEG 10",
    }  # fmt: skip
    table = found.tables[0].frame
    assert table["note"].tolist()[-1] == "The trigger is too large."
    assert table["suspect: hits"].tolist()[0] == "7 of 10"
    assert found.data["changes"][0]["asr"]["suspect"]["hits"] == 7
    json.dumps(found.data)


def test_crossed_axes_show_what_could_not_be_made_as_such():
    made = [
        TriedChange(Change(size=size, quality=q), {"suspect": push(1, 1, 1, 0.9)})
        for size in (2, 1)
        for q in (None, 50)
    ]
    made[1] = TriedChange(made[1].change, {}, "Too large.")
    drawn = rows(crossed(made, "size", "quality").chart)
    assert {(row["down"], row["across"]): row["value"] for row in drawn} == {
        ("1×", "as it was"): 0.9, ("1×", "50"): 0.9, ("2×", "as it was"): 0.9, ("2×", "50"): None,
    }  # fmt: skip
    assert list(dict.fromkeys(row["down"] for row in drawn)) == ["1×", "2×"]
