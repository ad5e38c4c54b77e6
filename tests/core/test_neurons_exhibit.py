"""What the Neurons exhibit says and draws, from units made up so that it is known."""

from dataclasses import replace

import numpy as np
import pytest

from projlens_core.activations.neurons import Activity, NeuronFinding, Units
from projlens_core.analyses.neurons.answer import FIRM, answer
from projlens_core.analyses.neurons.exhibit import COLUMNS, RANKINGS, TOP, neurons
from projlens_core.stats.split_null import counted, distance, split_test

IMAGES, UNITS, LOUD = 12, 40, 3  # the trigger makes units 0 to LOUD − 1 of the suspect four times as active


def finding(loud: int, gained: bool, images: int = IMAGES) -> NeuronFinding:
    rng = np.random.default_rng(0)
    clean = (np.geomspace(0.01, 1, UNITS) * rng.gamma(9, 1 / 9, (images, UNITS))).astype(np.float32)
    triggered = clean.copy()
    triggered[:, :loud] *= 4
    units = Units(
        Activity(clean, np.full(UNITS, 0.5)),
        Activity(triggered, np.full(UNITS, 0.75)),
        *np.abs([triggered - clean, clean - np.roll(clean, 1, axis=0)]).mean(axis=1),
        *np.abs([triggered - clean, clean - np.roll(clean, 1, axis=0)]).max(axis=1),
    )
    test = split_test(clean, triggered)
    switches = units.quiet & (test.beyond > 0)
    count = None if test.note else counted(switches, units.quiet & (test.resampled > 0), 8)
    return NeuronFinding(units, test, test if gained else None, switches, count, distance(clean, triggered))


@pytest.fixture
def findings():
    return {"base": finding(0, False), "suspect": finding(LOUD, True), "control": finding(0, True)}


def rows(exhibit, name: str) -> list[dict]:
    """All rows of the exhibit's chart `name`."""
    chart = next(chart for chart in exhibit.charts if chart.name == name)
    return [row for dataset in chart.chart.to_dict()["datasets"].values() for row in dataset]


def test_the_answer_has_the_count_its_interval_and_the_projectors_beside_it(findings):
    said = answer(findings)
    assert said.startswith("The trigger switches on more units than in the projectors it is compared with")
    assert "3 of 8 quiet units in the suspect, 0 in the base, 0 in the control" in said
    assert FIRM in said
    findings["suspect"] = finding(0, True)
    assert answer(findings).startswith("No unit is switched on by the trigger alone: 0 of 8")
    assert "magnitudes coincide: 0.0% apart" in answer(findings)


def test_a_control_that_does_the_same_takes_the_verdict_away(findings):
    findings["control"] = finding(LOUD, True)
    assert answer(findings).startswith("The trigger switches on no more units than")


def test_an_interval_is_read_as_one_and_a_single_number_as_what_it_is(findings):
    cards = {card.label: card for card in neurons(findings, {}).metrics}
    assert cards["Switched on by the trigger"].interval == "3 in 95 % of resamples"
    counted_ = replace(findings["suspect"].switched_on, low=2, high=5)
    findings["suspect"] = replace(findings["suspect"], switched_on=counted_)
    assert neurons(findings, {}).metrics[0].line.endswith("(95 % interval 2 – 5; control 0)")
    assert "3 (2 – 5) of 8 quiet units" in answer(findings)


def test_every_unit_is_one_dot_and_the_switched_on_ones_are_marked(findings):
    exhibit = neurons(findings, {})
    dots = [row for row in rows(exhibit, "clean-against-triggered-suspect") if "kind" in row]
    assert sorted(row["unit"] for row in dots) == list(range(UNITS))
    assert sorted(row["unit"] for row in dots if row["kind"] == "switched on") == list(range(LOUD))
    control = [row for row in rows(exhibit, "clean-against-triggered-control") if "kind" in row]
    assert {row["kind"] for row in control} == {"within chance"}


def test_distributions_count_every_unit_once(findings):
    counts = rows(neurons(findings, {}), "distribution-suspect")
    for condition in ("clean", "triggered"):
        assert sum(row["units"] for row in counts if row["condition"] == condition) == UNITS


@pytest.mark.parametrize("by", RANKINGS)
def test_a_ranking_draws_its_leading_units_under_every_projector_with_what_chance_does(findings, by):
    suspect = findings["suspect"]
    drawn = rows(neurons(findings, {}), f"ranking-{by}")
    order = [row["unit"] for row in drawn if row.get("projector") == "suspect"]
    assert order == [str(unit) for unit in suspect.units.ranking(by)[:TOP]]
    assert {row["projector"] for row in drawn if "projector" in row} == {"base", "suspect", "control"}
    assert sum("projector" not in row for row in drawn) == len(order)


def test_the_table_has_the_papers_columns_and_figures(findings):
    frame = neurons(findings, {}).tables[0].frame
    assert list(frame.columns) == list(COLUMNS)
    np.testing.assert_allclose(frame.Ratio_Mag[:LOUD], 4, rtol=1e-5)
    np.testing.assert_allclose(frame.Diff_Mag, frame.FT_Mag_P - frame.FT_Mag_C)
    np.testing.assert_allclose(frame.Diff_Freq, 0.25)


def test_too_few_images_are_inconclusive_in_words_cards_and_data(findings):
    few = {role: finding(LOUD, role != "base", images=4) for role in findings}
    exhibit = neurons(few, {})
    assert exhibit.notes[0].startswith("Inconclusive. Not tested: 4 images are too few")
    assert {card.value for card in exhibit.metrics} == {"–"}
    assert exhibit.data["findings"]["suspect"]["switched_on"] is None
    assert set(exhibit.data["units"]["P_Response"]) == {None}
