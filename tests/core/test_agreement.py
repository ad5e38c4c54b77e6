"""What ΔW reaches, on planted deltas whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from projlens_core.activations.agreement import TOGETHER, Reach, agreement, reaches
from projlens_core.activations.direction import Direction, ShiftSum, drift_direction
from projlens_core.activations.set_shift import set_shift
from projlens_core.activations.shift import analyse, embeddings
from projlens_core.errors import InvalidInput
from projlens_core.weights.delta import compare
from projlens_core.weights.projector import read_projector
from tests import pico

W1, W2 = "linear_1.weight", "linear_2.weight"


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def direction(vector) -> Direction:
    return Direction(torch.nn.functional.normalize(torch.tensor(vector), dim=0), 1.0, np.ones(1), "given")


def plane(width: int) -> Reach:
    """The first two axes of `width` dimensions, one for each of two components."""
    return Reach("ΔW", torch.eye(width, dtype=torch.float64)[:, :2], np.array([1, 2]))


def moved(*rows) -> ShiftSum:
    total = ShiftSum(len(rows[0]))
    total.add(torch.tensor(rows))
    return total


# angles against a known span


def test_angles_are_those_between_a_vector_and_a_plane():
    # (1, 1, √2): 60° from the first axis, 45° from the plane of the first two
    found = agreement(plane(3), {"all": direction([1.0, 1.0, 2**0.5])}, moved([0.0, 3.0, 4.0]))
    assert found.angles["all"] == pytest.approx([60.0, 45.0], abs=1e-4)
    assert found.share == pytest.approx([0.0, 9 / 25])
    assert found.chance_share == pytest.approx([1 / 3, 2 / 3])


def test_chance_is_what_random_directions_show():
    width = 40
    found = agreement(plane(width), {}, moved([1.0] * width))
    axes = torch.nn.functional.normalize(random(20_000, width), dim=1)
    angles = np.degrees(np.arccos(axes[:, :2].norm(dim=1).numpy()))
    assert found.chance_angle[1] == pytest.approx(np.median(angles), abs=0.3)
    assert found.chance_low[1] == pytest.approx(np.quantile(angles, 0.025), abs=0.5)
    assert (found.chance_low < found.chance_angle).all()


def test_a_span_of_all_dimensions_holds_every_direction():
    found = agreement(plane(2), {"all": direction([1.0, 2.0])}, moved([1.0, 2.0]))
    assert found.angles["all"][1] == pytest.approx(0.0, abs=1e-4)
    assert (found.chance_angle[1], found.share[1]) == pytest.approx((0.0, 1.0))


# reaches of planted deltas


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return read_projector(pico.checkpoint(tmp_path_factory.mktemp("agreement") / "base"))


def changed(base, **deltas):
    """The base with ΔW added: changed(base, linear_1=…)."""
    tensors = dict(base.tensors)
    for name, delta in deltas.items():
        tensors[f"{name}.weight"] = tensors[f"{name}.weight"] + delta
    return compare(base, replace(base, tensors=tensors))


def tokens():
    return random(3, pico.TOKENS, pico.D_VISION, seed=9)


def shift_of(delta):
    total = ShiftSum(delta.base.d_out)
    total.add(embeddings(delta.suspect, tokens()) - embeddings(delta.base, tokens()))
    return total


def outer(rows, cols, strengths, seed=3):
    left = torch.linalg.qr(random(rows, len(strengths), seed=seed))[0]
    right = torch.linalg.qr(random(cols, len(strengths), seed=seed + 1))[0]
    return left, left @ torch.diag(torch.tensor(strengths)) @ right.T


def test_the_last_layers_components_reach_their_left_singular_vectors(base):
    left, planted = outer(pico.D_TEXT, pico.D_TEXT, [5.0, 2.0])
    (found,) = reaches(changed(base, linear_2=planted), tokens())
    assert (found.name, found.sizes.tolist()) == (W2, [1, 2])
    assert abs(float(found.axes[:, 0] @ left[:, 0].double())) == pytest.approx(1.0, abs=1e-5)
    inside = found.axes @ (found.axes.T @ left.double())
    torch.testing.assert_close(inside, left.double(), atol=1e-5, rtol=0)


def test_a_drift_made_by_the_last_layer_alone_lies_inside_its_reach(base):
    _, planted = outer(pico.D_TEXT, pico.D_TEXT, [5.0, 2.0, 1.0])
    delta = changed(base, linear_2=planted)
    total = shift_of(delta)
    (found,) = reaches(delta, tokens())
    judged = agreement(found, {"all": total.direction()}, total)
    assert judged.angles["all"][-1] < 0.1
    assert judged.share[-1] == pytest.approx(1.0, abs=1e-6)
    assert judged.chance_low[-1] > 45


def test_an_earlier_layer_is_followed_through_the_suspects_later_ones(base):
    left, planted = outer(pico.D_TEXT, pico.D_VISION, [0.01])
    delta = changed(base, linear_1=planted)
    (found,) = reaches(delta, tokens())
    # by hand: W₂ˢ · mean gelu′(z) · u, the mean over all tokens, of which there are fewer than are sampled
    z = tokens().flatten(0, 1) @ delta.suspect.tensors[W1].T + delta.suspect.tensors["linear_1.bias"]
    z = z.double().requires_grad_(True)
    (gate,) = torch.autograd.grad(torch.nn.functional.gelu(z).sum(), z)
    by_hand = delta.suspect.tensors[W2].double() @ (gate.mean(dim=0) * left[:, 0].double())
    cosine = float(found.axes[:, 0] @ torch.nn.functional.normalize(by_hand, dim=0))
    assert found.name == W1
    assert abs(cosine) == pytest.approx(1.0, abs=1e-5)


def test_together_they_reach_what_each_reaches_component_by_component(base):
    _, first = outer(pico.D_TEXT, pico.D_VISION, [1.0, 0.5])
    _, second = outer(pico.D_TEXT, pico.D_TEXT, [1.0, 0.5, 0.2], seed=7)
    one, two, both = reaches(changed(base, linear_1=first, linear_2=second), tokens())
    assert [r.name for r in (one, two, both)] == [W1, W2, TOGETHER]
    assert both.sizes.tolist() == [2, 4, 5]  # the first layer runs out after two
    for alone in (one, two):
        torch.testing.assert_close(both.axes @ (both.axes.T @ alone.axes), alone.axes, atol=1e-6, rtol=0)
    torch.testing.assert_close(both.axes.T @ both.axes, torch.eye(5, dtype=torch.float64), atol=1e-9, rtol=0)


def test_no_more_components_are_followed_than_asked_or_than_there_are(base):
    _, planted = outer(pico.D_TEXT, pico.D_TEXT, [5.0, 2.0, 1.0])
    delta = changed(base, linear_2=planted)
    assert reaches(delta, tokens(), ranks=2)[0].sizes.tolist() == [1, 2]
    assert reaches(delta, tokens(), ranks=30)[0].sizes.tolist() == [1, 2, 3]  # rounding makes no component


def test_matrices_that_did_not_change_reach_nothing(base):
    assert reaches(changed(base), tokens()) == ()


def test_a_drift_from_elsewhere_is_as_far_as_chance(base):
    _, planted = outer(pico.D_TEXT, pico.D_TEXT, [5.0])
    delta = changed(base, linear_2=planted)
    (found,) = reaches(delta, tokens())
    elsewhere = drift_direction(random(1, pico.D_TEXT, seed=21))
    assert agreement(found, {"all": elsewhere}, shift_of(delta)).angles["all"][0] > 60


# all of it over a set, chunk by chunk


def test_a_set_taken_apart_chunk_by_chunk_agrees_with_its_analysis_in_one_piece(base):
    _, planted = outer(pico.D_TEXT, pico.D_TEXT, [5.0, 2.0])
    delta = changed(base, linear_2=planted)
    clean, triggered = random(7, pico.TOKENS, pico.D_VISION), random(7, pico.TOKENS, pico.D_VISION, seed=1)
    sets = {"clean": clean, "triggered": triggered}
    chunks = {name: lambda tokens=tokens: tokens.split(3) for name, tokens in sets.items()}
    steps = []
    found = set_shift(delta, list("abcdefg"), chunks, progress=lambda stage, done, total: steps.append((done, total)))
    whole = analyse(delta.base, delta.suspect, clean, triggered)
    torch.testing.assert_close(found.direction.vector, whole.direction.vector, atol=1e-5, rtol=0)
    for name, part in whole.conditions.items():
        one = found.conditions[name]
        torch.testing.assert_close(one.relation.shift, part.shift, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(one.relation.norms, part.base_norms)
        assert one.ranking.mean == pytest.approx(part.shift.abs().mean(dim=1).numpy(), rel=1e-4)
        assert one.relation.fit.slope == pytest.approx(part.fit.slope, rel=1e-3)
        assert one.spectrum.values.shape == (7, pico.TOKENS)
        assert (one.spectrum.energy[:, 1] > 1 - 1e-6).all()  # the planted rank
    assert steps[0] == (0, 28)
    assert steps[-1] == (28, 28)
    assert steps == sorted(steps)


def test_a_set_can_be_held_against_the_norm_of_the_projectors_input(base):
    _, planted = outer(pico.D_TEXT, pico.D_TEXT, [5.0])
    tokens = random(2, pico.TOKENS, pico.D_VISION)
    found = set_shift(changed(base, linear_2=planted), ["a", "b"], {"clean": lambda: [tokens]}, norm="input")
    torch.testing.assert_close(found.conditions["clean"].relation.norms, tokens.norm(dim=-1))
    assert found.agreements[0].angles.keys() == {"all", "clean"}


def test_a_projector_that_moves_nothing_is_one_sentence(base):
    with pytest.raises(InvalidInput, match="no drift direction"):
        set_shift(changed(base), ["a"], {"clean": lambda: [random(1, pico.TOKENS, pico.D_VISION)]})
