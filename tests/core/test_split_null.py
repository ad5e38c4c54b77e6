from itertools import combinations

import numpy as np
import pytest

from projlens_core.stats import split_null
from projlens_core.stats.split_null import RESAMPLES, counted, discoveries, distance, split_test

UNITS = 40


def draws(images: int, seed: int, units: int = UNITS) -> np.ndarray:
    """Magnitudes of units with scales of their own: (images, units)."""
    rng = np.random.default_rng(seed)
    return (rng.gamma(4.0, 1.0, (images, units)) * np.geomspace(0.01, 1, units)).astype(np.float32)


@pytest.mark.parametrize("images", [8, 9])
def test_the_spread_is_that_of_all_splits_in_half(images):
    clean = draws(images, 0, units=3)
    every = [
        clean[list(half)].mean(axis=0) - clean[[i for i in range(images) if i not in half]].mean(axis=0)
        for half in combinations(range(images), images // 2)
    ]
    found = split_test(clean, clean)
    np.testing.assert_allclose(found.spread, np.sqrt(np.mean(np.square(every), axis=0)), rtol=1e-5)


def test_benjamini_and_hochbergs_step_up_takes_all_below_the_last_that_passes():
    # 5 % of 1/5, 2/5, … are 0.01, 0.02, …; the second fails, yet stands below the third, which passes
    assert discoveries(np.array([0.03, 0.9, 0.005, 0.025, 0.2])) == 3
    assert discoveries(np.array([0.02, 0.03, 0.04])) == 3
    assert discoveries(np.array([0.5, 0.9])) == 0


def test_chance_alone_moves_no_unit_beyond_chance():
    for seed in range(10):
        found = split_test(draws(20, seed), draws(20, 100 + seed))
        assert found.moved.value == 0
        assert found.p.min() > split_null.RATE / UNITS


def test_a_trigger_that_moves_one_unit_far_moves_that_unit_alone():
    clean = draws(20, 0)
    triggered = clean.copy()
    triggered[:, 7] += 3 * clean[:, 7].std()
    triggered[:, 8] += 0.1 * clean[:, 8].std()  # less than halves of the clean images differ
    found = split_test(clean, triggered)
    assert found.beyond.nonzero()[0].tolist() == [7]
    assert (found.moved.value, found.moved.low, found.moved.high, found.moved.of) == (1, 1, 1, UNITS)
    assert split_test(clean, clean - (triggered - clean)).beyond[7] == -1


def test_a_unit_that_only_ever_wakes_for_the_trigger_is_beyond_any_chance():
    clean = draws(12, 0)
    clean[:, 3] = 0
    triggered = clean.copy()
    triggered[:, 3] = 1e-3
    found = split_test(clean, triggered)
    assert found.beyond.nonzero()[0].tolist() == [3]
    assert found.p[3] == found.p.min()


def test_a_unit_that_never_changes_does_not_blur_what_chance_does_to_the_others():
    clean = draws(12, 0)
    clean[:, 3] = 0.1
    found = split_test(clean, clean)
    assert np.isfinite(found.cut)
    assert found.moved.value == 0


def test_too_few_images_are_said_and_not_counted():
    few = split_test(draws(7, 0), draws(7, 1))
    assert "7 images are too few" in few.note
    assert few.moved is None
    assert np.isnan(few.p).all()


def test_the_same_images_give_the_same_numbers():
    first, again = (split_test(draws(20, 0), draws(20, 1)) for _ in range(2))
    np.testing.assert_array_equal(first.p, again.p)
    np.testing.assert_array_equal(first.resampled, again.resampled)


def test_the_interval_of_a_count_is_what_resamples_count():
    resampled = np.zeros((RESAMPLES, 4), bool)
    resampled[:, 0] = True
    resampled[: RESAMPLES // 2, 1] = True
    count = counted(np.array([True, True, False, False]), resampled, of=4)
    assert (count.value, count.low, count.high, count.of) == (2, 1, 2, 4)


def test_the_distance_of_distributions_is_relative_to_the_clean_mean_and_blind_to_which_unit_is_which():
    clean = np.tile([1.0, 2.0, 3.0], (8, 1))
    assert distance(clean, clean + 1).value == pytest.approx(0.5)
    assert distance(clean, clean[:, ::-1]).value == pytest.approx(0.0)


def test_halves_of_the_clean_images_bound_the_distance_that_chance_makes():
    clean = draws(20, 0)
    same, moved = distance(clean, draws(20, 1)), distance(clean, 2 * draws(20, 1))
    assert same.value < same.chance < 0.3
    assert moved.chance < moved.low <= moved.value <= moved.high
    assert distance(clean[:7], clean[:7]) is None
