"""The Activation exhibit says of one image, patch by patch, what the analysis found."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from projlens_core.activations.shift import analyse
from projlens_core.analyses.activation import exhibit as activation
from projlens_core.analyses.activation import numbers
from projlens_core.analyses.activation.measure import ImageShift, SampleShift
from projlens_core.weights.projector import read_projector
from tests import pico

IMAGES = {"clean": "data:,", "triggered": "data:,"}


def tokens(images, seed):
    return torch.randn(images, pico.TOKENS, pico.D_VISION, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """(reference, subjects) of a suspect and a control with deltas of their own."""
    folder = tmp_path_factory.mktemp("exhibit")
    base_folder = pico.checkpoint(folder / "base")
    base = read_projector(base_folder)
    by_role = {
        "suspect": read_projector(pico.suspect(base_folder, folder / "suspect", strength=(4.0,)).folder),
        "control": read_projector(pico.suspect(base_folder, folder / "control", strength=(0.5, 0.5), seed=5).folder),
    }
    pair, sets = (tokens(1, 7), tokens(1, 8)), (tokens(6, 1), tokens(6, 2))
    samples = {role: analyse(base, weights, *sets) for role, weights in by_role.items()}
    along = analyse(base, by_role["control"], *sets, direction=samples["suspect"].direction)
    found = {}
    for role, weights in by_role.items():
        analysis = analyse(base, weights, *pair, direction=samples[role].direction)
        clean, triggered = (part.shift[0].reshape(pico.GRID).numpy() for part in analysis.conditions.values())
        found[role] = ImageShift(clean, triggered, analysis)
    return SampleShift(samples, along, 6), found


def test_the_exhibit_holds_both_projectors_maps_on_one_scale(seen):
    shown = activation.activation(*seen, IMAGES, {"base": "b"})
    names = [chart.name for chart in shown.charts]
    for role in ("suspect", "control"):
        assert {f"shift-{c}-{role}" for c in ("clean", "triggered", "difference")} <= set(names)
    maps = [c.chart.to_dict() for c in shown.charts if c.name.startswith(("shift-clean", "shift-triggered"))]
    assert len({tuple(spec["layer"][1]["encoding"]["color"]["scale"]["domain"]) for spec in maps}) == 1
    assert all(chart.caption.startswith("How to read this: ") for chart in shown.charts)
    assert shown.notes == ()


def test_the_exhibits_data_is_json_and_says_what_decides_it(seen):
    data = json.loads(json.dumps(activation.activation(*seen, IMAGES, {"base": "b"}, norm="input").data))
    assert data["settings"] == {"base": "b", "norm": "input", "signed": False}
    assert np.array(data["patches"]["suspect"]["clean"]).shape == pico.GRID
    assert data["samples"]["control"]["triggered"]["robust_fit"]["slope"] is not None


def test_without_a_control_the_exhibit_says_what_a_map_cannot_say(seen):
    samples, found = seen
    alone = SampleShift({"suspect": samples.by_role["suspect"]}, None, 6)
    shown = activation.activation(alone, {"suspect": found["suspect"]}, IMAGES, {})
    assert shown.notes == (activation.ALONE,)


def test_a_direction_that_was_turned_round_does_not_change_the_headline(seen):
    samples, found = seen
    suspect = samples.by_role["suspect"]
    turned = replace(suspect, direction_cosine=-suspect.direction_cosine)
    other = SampleShift(samples.by_role | {"suspect": turned}, samples.along, 6)
    assert numbers.headlines(other, found, signed=False) == numbers.headlines(samples, found, signed=False)


def test_patches_have_their_place_by_magnitude():
    assert numbers.within(np.array([[0.5, -3.0], [1.0, -1.0]])).tolist() == [4, 1, 2, 3]


def test_one_patch_reads_as_clean_to_triggered(seen):
    _, found = seen
    subject = replace(found["suspect"], clean=np.array([[1.0, -2.0]]), triggered=np.array([[4.0, 0.5]]))
    facts = dict(numbers.patch(subject, 1))
    assert facts["shift ΔE·v₀"] == "−2 → 0.5"
    assert facts["place in the image"] == "1 → 2 of 2"
    norms = [float(part.base_norms[0, 1]) for part in found["suspect"].conditions.values()]
    assert facts["‖E_b‖"] == " → ".join(f"{norm:.3g}" for norm in norms)


def test_an_upload_without_its_twin_is_the_triggered_one(seen):
    _, found = seen
    lone = replace(found["suspect"], clean=None)
    assert lone.conditions.keys() == {"triggered"}
    assert [chart.name for chart in activation.heatmaps({"suspect": lone}, IMAGES, "suspect", signed=False)] == [
        "shift-triggered-suspect"
    ]
