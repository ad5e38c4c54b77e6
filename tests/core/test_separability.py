import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from projlens_core.activations.separability import RIDGE, gain, out_of_fold, separability, twin_folds
from projlens_core.errors import InvalidInput
from projlens_core.stats.auroc import separation

N, T, D = 24, 3, 40


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def images():
    """Embeddings of N images: each image's own content on all its tokens, and a little noise."""
    return 10 * drawn(N, 1, D) + 0.1 * drawn(N, T, D, seed=1)


def test_a_trigger_that_moves_all_images_one_way_is_found(images):
    found = separability(images, images + 200 * torch.eye(D)[0])
    assert found.auroc.auroc == 1.0
    assert found.auroc.low < 1.0
    assert found.triggered.min() > found.clean.max()
    assert found.chance.p == 1 / (found.chance.shuffles + 1)
    assert found.chance.mean == pytest.approx(0.5, abs=0.1)
    assert found.folds == 5


def test_a_trigger_that_does_nothing_is_chance_exactly(images):
    found = separability(images, images.clone())
    assert found.auroc.auroc == 0.5
    assert found.chance.p == 1.0


def test_a_trigger_that_only_lengthens_tokens_is_found_by_norms_alone():
    images = torch.nn.functional.normalize(drawn(N, T, D), dim=-1)
    assert separability(images, 1.5 * images).norms.auroc == 1.0


def test_knowing_an_images_twin_tells_nothing_since_both_are_held_out_together(images):
    """Twins nearly alike: with one in training, the other is recognised and called the opposite of what it is."""
    twins = images + 1e-3 * drawn(N, T, D, seed=2)
    assert 0.25 < separability(images, twins).auroc.auroc < 0.75
    torn = torch.roll(twins, 1, dims=0)  # pairs of strangers: each image's twin is now in another fold, mostly
    assert separability(images, torn).auroc.auroc < 0.2


def test_all_projectors_are_judged_in_the_same_folds():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 12, 4))
    assert twin_folds(one).tolist() == twin_folds(other).tolist()


def test_images_that_stand_in_the_set_twice_share_a_fold():
    features = np.random.default_rng(0).normal(size=(20, 6))
    features[13] = features[4]
    for seed in range(10):
        folds = twin_folds(features, seed)
        assert folds[13] == folds[4]
        assert set(folds) == {0, 1, 2, 3, 4}


def test_the_dual_solution_is_that_of_ridge_regression():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(2, 10, 4))
    folds = np.arange(10) % 5
    scores = out_of_fold(features, folds, np.ones((1, 10)))[0]
    train = np.concatenate([features[0, folds != 2], features[1, folds != 2]])
    centred = train - train.mean(axis=0)
    penalty = RIDGE * (centred**2).sum() / len(centred)
    labels = np.repeat([-1.0, 1.0], 8)
    weights = np.linalg.solve(centred.T @ centred + penalty * np.eye(4), centred.T @ labels)
    np.testing.assert_allclose(scores[:, folds == 2], (features[:, folds == 2] - train.mean(axis=0)) @ weights)


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_turning_and_scaling_the_embedding_space_changes_nothing(seed):
    clean, triggered = drawn(8, T, 6, seed=seed), drawn(8, T, 6, seed=seed + 1)
    turn = 7 * torch.linalg.qr(drawn(6, 6, seed=seed + 2))[0]
    before, after = separability(clean, triggered), separability(clean @ turn, triggered @ turn)
    torch.testing.assert_close(before.clean, after.clean, rtol=1e-3, atol=1e-4)
    assert before.auroc.auroc == pytest.approx(after.auroc.auroc, abs=1 / 32)


def test_swapping_clean_and_triggered_mirrors_the_decision_values(images):
    other = images + drawn(1, 1, D, seed=5)
    one, swapped = separability(images, other), separability(other, images)
    torch.testing.assert_close(one.chance.mean, swapped.chance.mean, rtol=0, atol=0.05)
    assert one.auroc.auroc == pytest.approx(swapped.auroc.auroc, abs=0.1)


def test_the_auroc_is_that_of_the_decision_values(images):
    found = separability(images, images + 0.5 * drawn(N, T, D, seed=4))
    assert found.auroc == separation(found.clean, found.triggered)


def test_a_gain_is_the_difference_with_an_interval_around_it(images):
    weak = separability(images, images + 0.1 * drawn(N, T, D, seed=4))
    strong = separability(images, images + 200 * torch.eye(D)[0])
    added = gain(strong, weak)
    assert added.difference == pytest.approx(strong.auroc.auroc - weak.auroc.auroc)
    assert 0 < added.low < added.difference < added.high
    assert gain(weak, weak).low == gain(weak, weak).high == 0.0


def test_a_gain_between_two_perfect_projectors_has_no_interval(images):
    perfect = separability(images, images + 200 * torch.eye(D)[0])
    assert gain(perfect, perfect).difference == 0.0
    assert np.isnan(gain(perfect, perfect).low)


def test_too_few_images_are_refused_and_copies_do_not_count(images):
    with pytest.raises(InvalidInput, match="3 different images"):
        separability(images[:3], images[:3])
    with pytest.raises(InvalidInput, match="1 different image cannot"):
        separability(images[:1].repeat(9, 1, 1), images[:9])


def test_embeddings_that_are_not_finite_or_do_not_match_are_refused(images):
    with pytest.raises(InvalidInput, match="NaN or infinity"):
        separability(images, images * float("nan"))
    with pytest.raises(InvalidInput, match="must both be"):
        separability(images, images[1:])
