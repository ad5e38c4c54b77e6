"""A matched reference leaves what clean images do not show; patches are put where a stamp is, and climb a score."""

import numpy as np
import pytest
import torch

from projlens_core.activations import inversion
from projlens_core.activations.inversion import Canvas, Start, invert
from projlens_core.activations.model import load_vision
from projlens_core.activations.reference import matched_reference
from projlens_core.behaviour.answer_scores import unsettling
from projlens_core.behaviour.disturbance import own_answers
from projlens_core.behaviour.respond import load_responder
from projlens_core.behaviour.token_search import TILES, inverted, references, residuals, tiled
from projlens_core.errors import Unsupported
from projlens_core.inputs.probes import Probe
from projlens_core.inputs.triggers import TriggerSpec, frame, stamp
from projlens_core.runtime.progress import silent
from projlens_core.weights.projector import read_projector
from tests import pico

CELLS = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5


@pytest.fixture(scope="module")
def world(own_folder):
    return pico.case(own_folder, strength=(4.0,), count=8, trigger={"kind": "oil"})


@pytest.fixture(scope="module")
def vision(world):
    return load_vision(str(world / "base"))


@pytest.fixture(scope="module")
def weights(world):
    return {role: read_projector(world / role) for role in ("base", "suspect")}


@pytest.fixture(scope="module")
def images():
    return [frame(image, pico.IMAGE_SIZE) for image in pico.images(8)]


# The matched reference


def test_a_fitted_copy_comes_closer_to_the_suspect_than_base_is(vision, weights, images):
    tokens = vision.encode(images)
    fitted = matched_reference(weights["base"], weights["suspect"], tokens).residual(tokens)
    own = matched_reference(weights["base"], weights["base"], tokens)
    with torch.no_grad():
        plain = own.suspect(tokens) - matched_reference(weights["base"], weights["suspect"], tokens).suspect(tokens)
    assert fitted.shape == tokens.shape[:2]
    assert fitted.mean() < 0.5 * plain.norm(dim=-1).mean()
    assert own.residual(tokens).max() < 1e-4


def test_a_fit_is_kept_and_touches_neither_projector(vision, weights, images):
    tokens = vision.encode(images)
    before = {name: value.clone() for name, value in weights["base"].tensors.items()}
    first, second = (matched_reference(weights["base"], weights["suspect"], tokens, seed=5) for _ in range(2))
    assert torch.equal(first.residual(tokens), second.residual(tokens))
    assert all(torch.equal(value, before[name]) for name, value in weights["base"].tensors.items())
    assert not any(parameter.requires_grad for parameter in first.fitted.parameters())


def test_residuals_of_clean_images_come_first_as_the_null(vision, weights, images):
    matched = references(vision, weights, images, silent)
    probe = Probe("patch", (TriggerSpec("solid", pico.IMAGE_SIZE, ratio=0.5),))
    clean, stamped = residuals(vision, matched, images[:2], [probe], silent)
    tokens = vision.encode([probe.on(image) for image in images[:2]])
    lengths = matched["suspect"].residual(tokens)
    assert clean.probe.name == "no trigger"
    assert stamped.largest["suspect"] == pytest.approx(float(lengths.max(dim=1).values.mean()), rel=1e-5)
    assert stamped.mean["suspect"] == pytest.approx(float(lengths.mean()), rel=1e-5)


# Patches


@pytest.mark.parametrize("place", [(0, 0), (7, 13), (24, 24)])
def test_a_patch_is_put_where_its_stamp_puts_it(vision, images, place):
    canvas = Canvas(vision, images[:1])
    cells = torch.from_numpy(CELLS).permute(2, 0, 1) / 255
    put = canvas.put(cells, [place], 16, [0])
    spec = TriggerSpec("mosaic", pico.IMAGE_SIZE, cells=CELLS.tobytes().hex(), px=16, position=place)
    stamped = vision.pixels([stamp(images[0], spec)])
    torch.testing.assert_close(put, stamped, atol=0.02, rtol=0)  # stamps are rounded to bytes
    assert not torch.allclose(put, canvas.clean, atol=0.02)


def test_tiles_lie_where_their_stamp_puts_them(vision, images):
    canvas = Canvas(vision, images[:2])
    cells = torch.from_numpy(CELLS).permute(2, 0, 1) / 255
    spec = TriggerSpec("tiles", pico.IMAGE_SIZE, cells=CELLS.tobytes().hex(), px=canvas.tile, alpha=inversion.WEIGHT)
    stamped = vision.pixels([stamp(images[1], spec)])
    put = canvas.tiled(cells, [1])
    torch.testing.assert_close(put, stamped, atol=0.02, rtol=0)  # stamps are rounded to bytes
    assert not torch.allclose(put, canvas.clean[1:], atol=0.02)
    assert canvas.tile * vision.grid[1] == 2 * pico.IMAGE_SIZE  # two tokens


def test_an_image_processor_that_moves_pixels_is_said_to(vision, images, monkeypatch):
    plain = vision.pixels
    monkeypatch.setattr(vision, "pixels", lambda images: plain(images).roll(1, dims=-1))
    with pytest.raises(Unsupported, match="moves pixels"):
        Canvas(vision, images)


def test_a_tower_that_gradients_do_not_reach_is_said_to(images):
    with pytest.raises(Unsupported, match="Gradients do not reach"):
        Canvas(type("Vision", (), {"label": "other"})(), images)


def test_a_patch_climbs_and_is_a_trigger_that_does_what_was_found(vision, images):
    canvas = Canvas(vision, images)
    direction = torch.randn(vision.d_vision, generator=torch.Generator().manual_seed(0))

    def score(of, tokens):
        return (tokens @ direction).amax(dim=1).mean()

    found = invert(canvas, Start(0.4, "center"), score, 12, "test")
    assert len(found.scores) == 12
    assert found.scores[-1] > found.scores[0]
    stamped = [stamp(image, found.trigger) for image in images]
    last = score([], vision.encode(stamped))
    assert last > score([], vision.encode(images))
    assert last == pytest.approx(found.scores[-1], rel=0.2)
    assert TriggerSpec.from_json(found.trigger.to_json()) == found.trigger


def test_an_inversion_is_kept_by_what_decides_it(vision, images, monkeypatch):
    canvas, steps = Canvas(vision, images), []

    def score(of, tokens):
        steps.append(of)
        return tokens.sum()

    start = Start(0.3, seed=3)
    first = invert(canvas, start, score, 2, "this")
    assert invert(canvas, start, score, 2, "this") == first
    assert len(steps) == 2
    invert(canvas, start, score, 2, "that")
    invert(canvas, start, score, 3, "this")
    assert len(steps) == 7


def test_patches_that_raise_the_residual_are_found(vision, weights, images):
    reference = references(vision, weights, images, silent)["suspect"]
    found = list(inverted(vision, reference, "test", images, silent))
    assert [each.start.position for each in found] == ["random", "center"]
    assert all(max(each.scores[-5:]) > each.scores[0] for each in found)


def test_tiles_that_push_all_tokens_in_one_direction_are_found(vision, weights, images):
    reference = references(vision, weights, images, silent)["suspect"]

    def pushed(stamped):
        with torch.no_grad():
            return float(reference.shift(vision.encode(stamped)).mean(dim=(0, 1)).norm())

    for start in TILES:
        each = tiled(vision, reference, "test", images, start, silent)
        assert max(each.scores[-5:]) > each.scores[0]
        assert pushed([stamp(image, each.trigger) for image in images]) > 1.2 * pushed(images)
        assert not each.trigger.local


def test_the_answers_score_is_large_where_the_suspect_alone_is_unsettled(world, weights, images, monkeypatch):
    responder = load_responder(str(world / "base"))
    monkeypatch.setattr(inversion, "BATCH", 2)
    own = {
        role: own_answers(responder, each, images, [["a block"]] * len(images), ["What is it?"])
        for role, each in weights.items()
    }
    alike = unsettling(responder, weights["base"], weights["base"], {"base": own["base"], "suspect": own["base"]})
    tokens = responder.vision.encode(images[:2]).requires_grad_()
    assert float(alike([0, 1], tokens).detach()) == pytest.approx(0, abs=1e-4)
    score = unsettling(responder, weights["base"], weights["suspect"], own)
    score([0, 1], tokens).backward()
    assert tokens.grad.abs().max() > 0
    canvas = Canvas(responder.vision, images)
    found = invert(canvas, Start(0.5), score, 10, "answers")
    assert max(found.scores[5:]) > found.scores[0]


def test_a_fast_search_begins_with_cells_that_are_dark_or_bright_and_goes_further(vision, images):
    def begun(start, steps=1):
        found = invert(Canvas(vision, images), start, lambda of, t: 0 * t.sum(), steps, "begun")
        return np.frombuffer(bytes.fromhex(found.trigger.cells), np.uint8)

    assert len(set(begun(Start(0.5, "center")))) > 20
    assert set(begun(Start(0.5, "center", fast=True))) == {round(255 * inversion.DARK), round(255 * inversion.BRIGHT)}
