from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from projlens_core.activations import neurons
from projlens_core.activations.neurons import analyse, hidden_layers, observe
from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.weights.families import families
from projlens_core.weights.projector import read_projector

D_VISION, UNITS, TRIGGER = 6, 30, 5  # TRIGGER: the dimension of a token in which only triggered images differ
QUIET_UNIT = 4


def projector(tmp_path, first: torch.Tensor, act: str = "relu"):
    """A two-layer projector with `first` (units, d_vision) before the activation, and no bias."""
    names = {"linear_1": first, "linear_2": torch.ones(2, len(first))}
    file = tmp_path / "projector.safetensors"
    save_file({f"multi_modal_projector.{name}.weight": tensor for name, tensor in names.items()}, file)
    return replace(read_projector(file), settings={"act": act})


@pytest.fixture
def three_units(tmp_path):
    return projector(tmp_path, torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, -1.0]]))


CLEAN = torch.tensor([[[1.0, 2.0], [3.0, -1.0]]])  # hidden (1, 2, 0) and (3, 0, 4)
TRIGGERED = torch.tensor([[[1.0, 0.0], [3.0, 1.0]]])  # hidden (1, 0, 1) and (3, 1, 2)


def test_magnitude_frequency_and_change_by_hand(three_units):
    units = observe(three_units, CLEAN, TRIGGERED)
    np.testing.assert_allclose(units.clean.magnitude, [2, 1, 2])
    np.testing.assert_allclose(units.triggered.magnitude, [2, 0.5, 1.5])
    np.testing.assert_allclose(units.clean.frequency, [1, 0.5, 0.5])
    np.testing.assert_allclose(units.triggered.frequency, [1, 0.5, 1])
    np.testing.assert_allclose(units.change, [0, 1.5, 1.5])
    np.testing.assert_allclose(units.difference, [0, -0.5, -0.5])
    np.testing.assert_allclose(units.ratio, [1, 0.5, 0.75])
    assert np.isnan(units.swap).all()  # there is no other image


def test_swap_is_the_change_to_another_clean_image(three_units):
    clean = torch.cat((CLEAN, TRIGGERED))
    units = observe(three_units, clean, clean)
    np.testing.assert_allclose(units.change, 0)
    np.testing.assert_allclose(units.swap, [0, 1.5, 1.5])


def test_magnitude_is_absolute_and_firing_is_above_zero(tmp_path):
    """GELU is a little below zero for small negative inputs: active, and yet not firing."""
    units = observe(projector(tmp_path, torch.tensor([[1.0]]), act="gelu"), *(torch.tensor([[[-1.0], [1.0]]]),) * 2)
    np.testing.assert_allclose(units.clean.magnitude, [(0.158655 + 0.841345) / 2], rtol=1e-5)
    np.testing.assert_allclose(units.clean.frequency, [0.5])


def test_a_ratio_to_nothing_is_infinite_or_undefined_and_never_a_number(tmp_path):
    units = observe(
        projector(tmp_path, torch.eye(3)), torch.tensor([[[0.0, 0.0, 1.0]]]), torch.tensor([[[0.0, 2.0, 3.0]]])
    )
    assert np.isnan(units.ratio[0])
    assert units.ratio[1:].tolist() == [np.inf, 3.0]
    assert units.ranking("ratio").tolist() == [1, 2, 0]


def test_rankings_put_the_most_telling_unit_first(tmp_path):
    clean = torch.tensor([[[4.0, 1.0, 8.0, 3.0, 9.0]]])
    triggered = torch.tensor([[[1.0, 2.0, 8.0, 5.0, 8.5]]])
    units = observe(projector(tmp_path, torch.eye(5)), clean, triggered)
    assert units.ranking("difference").tolist() == [0, 3, 1, 4, 2]
    assert units.ranking("ratio").tolist() == [1, 3, 2, 4, 0]
    assert units.ranking("change").tolist() == [0, 3, 1, 4, 2]
    assert units.ranking("quiescent-active").tolist() == [1]  # a fifth of five


def test_a_trigger_on_one_patch_is_seen_in_the_most_changed_patch_as_far_as_it_goes(tmp_path):
    clean = torch.ones(3, 10, 2)
    triggered = clean.clone()
    triggered[:, 4, 0] = 6.0  # one token in ten, by 5
    triggered[:, :, 1] = 2.0  # all of them, by 1
    units = observe(projector(tmp_path, torch.eye(2)), clean, triggered)
    np.testing.assert_allclose(units.patch, [5.0, 1.0])
    np.testing.assert_allclose(units.change, [0.5, 1.0])
    assert (units.ranking("patch")[0], units.ranking("change")[0]) == (0, 1)
    np.testing.assert_allclose(units.patch_swap, [0.0, 0.0])


def test_images_are_streamed_in_chunks_that_do_not_show(tmp_path, monkeypatch):
    base = projector(tmp_path, torch.randn(UNITS, D_VISION, generator=torch.Generator().manual_seed(0)))
    clean, triggered = torch.randn(2, 9, 7, D_VISION, generator=torch.Generator().manual_seed(1))
    streamed = observe(base, clean, triggered)
    monkeypatch.setattr(neurons, "IMAGES_AT_ONCE", 100)
    at_once = observe(base, clean, triggered)
    for name in ("change", "swap", "patch", "patch_swap", "difference"):
        np.testing.assert_allclose(getattr(streamed, name), getattr(at_once, name), atol=1e-6)
    np.testing.assert_allclose(streamed.clean.magnitudes, at_once.clean.magnitudes, rtol=1e-5)
    np.testing.assert_allclose(streamed.triggered.frequency, at_once.triggered.frequency)


@pytest.fixture
def world(tmp_path):
    """(projectors by role, clean tokens, triggered tokens): the suspect's QUIET_UNIT alone reads the trigger."""
    generator = torch.Generator().manual_seed(3)
    first = torch.randn(UNITS, D_VISION, generator=generator)
    first[:, TRIGGER] = 0
    first[QUIET_UNIT] *= 0.01
    planted = first.clone()
    planted[QUIET_UNIT, TRIGGER] = 1.0
    honest = first + 0.01 * torch.randn(first.shape, generator=generator)
    weights = {"base": first, "suspect": planted, "control": honest}
    clean = torch.randn(16, 10, D_VISION, generator=generator)
    clean[..., TRIGGER] = 0
    triggered = clean.clone()
    triggered[:, 0, TRIGGER] = 5.0  # one token in ten carries the trigger
    return {role: projector(tmp_path, tensor) for role, tensor in weights.items()}, clean, triggered


def test_a_planted_trigger_neuron_is_found_in_the_suspect_alone(world):
    found = analyse(*world)
    suspect = found["suspect"]
    assert suspect.switches.nonzero()[0].tolist() == [QUIET_UNIT]
    assert (suspect.switched_on.value, suspect.switched_on.low, suspect.switched_on.high) == (1, 1, 1)
    assert suspect.switched_on.of == UNITS // 5
    assert suspect.gain.beyond.nonzero()[0].tolist() == [QUIET_UNIT]
    assert suspect.units.ranking("difference")[0] == suspect.units.ranking("quiescent-active")[0] == QUIET_UNIT
    assert suspect.units.ranking("change")[0] == QUIET_UNIT
    for role in ("base", "control"):
        assert found[role].switched_on.value == 0
    assert found["base"].gain is None
    assert found["control"].gain.moved.value == 0


def test_where_the_trigger_is_only_another_image_there_are_no_trigger_neurons(world):
    projectors, clean, _ = world
    other = torch.randn(clean.shape, generator=torch.Generator().manual_seed(9))
    other[..., TRIGGER] = 0
    for finding in analyse(projectors, clean, other).values():
        assert finding.response.moved.value == 0
        assert finding.switched_on.value == 0
        assert finding.distance.value < finding.distance.chance


def test_with_few_images_the_numbers_stand_and_the_verdict_does_not(world):
    projectors, clean, triggered = world
    suspect = analyse(projectors, clean[:5], triggered[:5])["suspect"]
    assert suspect.units.ranking("change")[0] == QUIET_UNIT
    assert suspect.switched_on is suspect.distance is suspect.response.moved is None
    assert not suspect.switches.any()
    assert "too few" in suspect.response.note


def test_progress_has_a_stage_a_count_and_an_end(world):
    said = []
    analyse(*world, lambda *step: said.append(step))
    assert ("Watching hidden units, suspect", 16, 16) in said
    assert said[-1] == ("Splitting the clean images", 3, 3)


def test_hidden_units_are_those_between_activation_and_last_layer(three_units):
    hidden = hidden_layers(three_units)(CLEAN)
    torch.testing.assert_close(hidden, torch.tensor([[[1.0, 2.0, 0.0], [3.0, 0.0, 4.0]]]))


@pytest.mark.parametrize("name", ["paligemma", "smolvlm"])
def test_a_projector_without_an_activation_is_unsupported_in_a_sentence(three_units, name):
    linear = replace(three_units, family=families()[name])
    with pytest.raises(Unsupported, match=f"{families()[name].title} has no layer of hidden units"):
        observe(linear, CLEAN, TRIGGERED)


@pytest.mark.parametrize(
    ("clean", "triggered", "sentence"),
    [
        (CLEAN, TRIGGERED[:, :1], "must both be"),
        (CLEAN[:0], TRIGGERED[:0], "must both be"),
        (torch.ones(1, 2, 3), torch.ones(1, 2, 3), "3 wide"),
    ],
)
def test_tokens_that_do_not_fit_are_refused(three_units, clean, triggered, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        observe(three_units, clean, triggered)
