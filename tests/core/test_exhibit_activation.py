"""The Activation exhibit says of one image, patch by patch, what the analysis found."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from projlens_core.activations.embedding_map import embedding_map
from projlens_core.activations.model import load_vision
from projlens_core.activations.shift import analyse, embeddings
from projlens_core.activations.tokens import image_tokens
from projlens_core.activations.towers import Towers
from projlens_core.analyses.activation import exhibit as activation
from projlens_core.analyses.activation import measure, numbers
from projlens_core.analyses.activation.measure import CONDITIONS, ImageShift, SampleShift
from projlens_core.cases.case import Case, open_case
from projlens_core.weights.projector import as_module, read_projector
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
        found[role] = ImageShift(clean, triggered, analysis, placed=placed(base, by_role, pair, 0))
    return SampleShift(samples, along, 6, placed(base, by_role, sets, None)), found


def placed(base, by_role, sets, image):
    """The map of the sets' means, or of the patches of one image."""
    with torch.no_grad():
        embedded = {
            role: dict(zip(CONDITIONS, (as_module(weights)(each) for each in sets), strict=True))
            for role, weights in {"base": base, **by_role}.items()
        }
    return embedding_map(
        {
            role: {c: each.mean(dim=1) if image is None else each[image] for c, each in by.items()}
            for role, by in embedded.items()
        }
    )


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


def test_the_embedding_map_has_a_panel_for_each_projector_on_the_same_axes(seen):
    shown = activation.activation(*seen, IMAGES, {})
    for of, count in (("images", 6), ("patches", pico.TOKENS)):
        panels = [chart for chart in shown.charts if chart.name.startswith(f"map-{of}")]
        assert [panel.name for panel in panels] == [f"map-{of}-{role}" for role in ("base", "suspect", "control")]
        specs = [panel.chart.to_dict() for panel in panels]
        for axis in ("x", "y"):
            assert len({tuple(spec["layer"][1]["encoding"][axis]["scale"]["domain"]) for spec in specs}) == 1
            assert "of the variance" in specs[0]["layer"][1]["encoding"][axis]["title"]
        points = shown.data["map"][of]["points"]
        assert {len(each) for by in points.values() for each in by.values()} == {count}


def test_the_measurement_places_images_and_patches_as_the_projectors_embed_them(tmp_path):
    base = pico.checkpoint(tmp_path / "base")
    case = open_case(Case(str(base), str(pico.suspect(base, tmp_path / "suspect", strength=(4.0,)).folder)))
    tower = load_vision(str(base))
    images = pico.images(3)
    twins = [image.transpose(Image.Transpose.ROTATE_180) for image in images]
    samples = measure.sample_shift(case, Towers(tower), images, twins, "universal")
    found = measure.image_shift(case, Towers(tower), images[0], twins[0], "universal", samples)
    read = {"clean": image_tokens(tower, images), "triggered": image_tokens(tower, twins)}
    projectors = {"base": case.base, "suspect": case.suspect}
    embedded = {role: {c: embeddings(p, each) for c, each in read.items()} for role, p in projectors.items()}
    means = embedding_map({role: {c: each.mean(dim=1) for c, each in by.items()} for role, by in embedded.items()})
    patches = embedding_map({role: {c: each[0] for c, each in by.items()} for role, by in embedded.items()})
    for known, made in ((means, samples.means), (patches, found["suspect"].placed)):
        for role, by in known.points.items():
            for condition, points in by.items():
                np.testing.assert_allclose(made.points[role][condition], points, atol=2e-3)


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
