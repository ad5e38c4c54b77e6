from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from projlens_core.activations.dose_shift import dose_shifts, pointed
from projlens_core.activations.model import load_vision
from projlens_core.activations.shift import analyse
from projlens_core.activations.towers import Towers
from projlens_core.behaviour.flip import Flip, flip
from projlens_core.behaviour.respond import load_responder
from projlens_core.errors import InvalidInput
from projlens_core.inputs.doses import dose_axes, dosed
from projlens_core.inputs.triggers import TriggerSpec, frame, patch_box, stamp
from projlens_core.weights.projector import read_projector
from tests import pico

PATCH = TriggerSpec("solid", 40, colour="#ffffff", px=10, position="random")
NOISE = TriggerSpec("gaussian", 40, std=40.0)
GREY = Image.new("RGB", (40, 40), (100, 100, 100))


def white(image):
    return np.argwhere((np.asarray(image) == 255).all(axis=-1))  # (pixels, [y, x])


@pytest.mark.parametrize("spec", [PATCH, NOISE], ids=["patch", "whole image"])
def test_no_dose_is_the_clean_twin_and_the_full_one_the_stamped_image_to_the_pixel(spec):
    image = pico.images(1)[0]
    for axis in dose_axes(spec):
        assert dosed(image, spec, axis, 0.0) == frame(image, spec)
        assert dosed(image, spec, axis, 1.0) == stamp(image, spec)


def test_half_the_strength_is_half_way_and_half_the_size_lies_at_the_centre_of_the_full_patch():
    x, y, side = patch_box(GREY, PATCH)
    assert side == 10
    faint = np.asarray(dosed(GREY, PATCH, "strength", 0.5))
    assert faint[y, x].tolist() == [177] * 3  # 100 + (255 - 100) / 2, cut to whole grey levels
    small = white(dosed(GREY, PATCH, "size", 0.5))
    assert small.min(axis=0).tolist() == [y + 2, x + 2]  # (10 - 5) // 2
    assert small.max(axis=0).tolist() == [y + 6, x + 6]
    assert len(small) == 25


def test_the_box_of_a_patch_is_where_it_is_stamped_and_a_trigger_of_the_whole_image_has_none():
    x, y, side = patch_box(GREY, PATCH)
    stamped = white(stamp(GREY, PATCH))
    assert stamped.min(axis=0).tolist() == [y, x]
    assert len(stamped) == side**2
    assert patch_box(GREY, NOISE) is None
    assert dose_axes(NOISE) == ("strength",)


@pytest.mark.parametrize(
    ("axis", "dose", "said"), [("strength", 1.5, "from 0 to 1"), ("size", 0.5, "only by strength")]
)
def test_what_cannot_be_dosed_is_refused_in_one_sentence(axis, dose, said):
    with pytest.raises(InvalidInput, match=said):
        dosed(GREY, NOISE, axis, dose)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("doses")
    base = pico.checkpoint(folder / "base")
    pico.suspect(base, folder / "suspect", strength=(6.0,))
    return folder


@pytest.mark.usefixtures("own_folder")
def test_shifts_at_each_dose_are_those_of_the_shift_analysis_and_gains_begin_at_nothing(world):
    base, suspect = (read_projector(world / name) for name in ("base", "suspect"))
    tower, image, doses = load_vision(str(world / "base")), pico.images(1)[0], (0.0, 0.5, 1.0)
    images = [dosed(image, NOISE, "strength", dose) for dose in doses]
    tokens = tower.encode(images)
    analysis = analyse(base, suspect, tokens[:1], tokens[2:])
    vector = pointed(analysis)
    found = dose_shifts(base, {"suspect": suspect}, Towers(tower), images, doses, vector)
    expected = analyse(base, suspect, tokens, direction=vector).clean
    np.testing.assert_allclose(found.shifts["suspect"], expected.shift, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found.norms, expected.base_norms, rtol=1e-3)
    gains = found.gains("suspect")
    assert not gains[0].any()
    assert gains[2].mean() > 0  # the direction points where the trigger pushes
    assert found.peak == gains[2].argmax()
    with pytest.raises(InvalidInput, match="ascend from 0"):
        dose_shifts(base, {"suspect": suspect}, Towers(tower), images, (0.5, 0.2, 1.0), vector)
    with pytest.raises(InvalidInput, match="needs triggered images"):
        pointed(analyse(base, suspect, tokens))
    assert torch.equal(pointed(analysis).abs(), analysis.direction.vector.abs())


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({0.0: False, 0.5: False, 1.0: False}, None),
        ({1.0: True, 0.0: False, 0.5: False}, Flip(0.5, 1.0, True)),
        ({0.0: False, 0.5: True, 1.0: False}, Flip(0.0, 0.5, False)),
        ({0.0: True, 1.0: True}, Flip(None, 0.0, True)),
        ({}, None),
    ],
)
def test_the_flip_is_the_smallest_dose_with_the_target_and_the_one_before_it(said, found):
    assert flip(said) == found


@pytest.mark.usefixtures("own_folder")
def test_an_answer_is_heard_as_it_grows_and_comes_out_the_same(world):
    responder, images = load_responder(str(world / "base")), pico.images(2)
    projectors = [read_projector(world / name) for name in ("base", "suspect")]
    silent = responder.under_each(projectors, images, "What is it?", 6, lambda *_: None)
    heard = {}
    told = responder.under_each(
        projectors, images, "What is it?", 6, lambda *_: None, lambda i, text: heard.setdefault(i, []).append(text)
    )
    assert told == silent
    assert [heard[i][-1].strip() for i in range(4)] == silent  # projector by projector, image by image
    assert all(later.startswith(earlier) for texts in heard.values() for earlier, later in pairwise(texts))
