import numpy as np
import pytest
import torch

from projlens_core.activations.direction import ShiftSum, direction_cosine, drift_direction
from projlens_core.activations.embedding_spectrum import band, chance_cosine, embedding_spectrum, own_cosines
from projlens_core.activations.ranking import ranking
from projlens_core.errors import InvalidInput


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# the shift summed chunk by chunk


def test_a_sum_of_chunks_has_the_direction_of_all_tokens_together():
    delta_e = random(9, 8, 5)
    total = ShiftSum(5)
    for chunk in delta_e.split(2):
        total.add(chunk)
    summed, whole = total.direction(), drift_direction(delta_e)
    assert direction_cosine(summed, whole) == pytest.approx(1.0)
    assert summed.explained == pytest.approx(whole.explained)
    assert summed.singular_values == pytest.approx(whole.singular_values)


def test_two_sums_add_up_to_the_sum_of_both_sets():
    first, second = random(3, 4, 6), random(2, 4, 6, seed=1)
    parts = [ShiftSum(6), ShiftSum(6)]
    for part, delta_e in zip(parts, (first, second), strict=True):
        part.add(delta_e)
    both = (parts[0] + parts[1]).direction()
    torch.testing.assert_close(both.vector, drift_direction(torch.cat([first, second])).vector)


def test_fewer_tokens_than_dimensions_leave_as_many_singular_values_as_tokens():
    total = ShiftSum(7)
    total.add(random(3, 7))
    assert total.direction().singular_values == pytest.approx(drift_direction(random(3, 7)).singular_values, rel=1e-6)


def test_shares_along_axes_are_squared_projections_over_the_whole():
    total = ShiftSum(2)
    total.add(torch.tensor([[3.0, 0.0], [0.0, 1.0]]))
    assert total.shares(torch.eye(2)) == pytest.approx([0.9, 0.1])


def test_a_sum_that_moved_nothing_has_no_direction():
    total = ShiftSum(3)
    total.add(torch.zeros(2, 3))
    with pytest.raises(InvalidInput, match="no drift direction"):
        total.direction()


# spectra over images


def test_each_image_has_the_singular_values_and_the_energy_of_its_own_shift():
    # rows (3,0) and (0,4): σ = 4, 3; energy 16/25, 1.  rows (0,2) and (0,0): σ = 2, 0; energy 1, 1
    images = torch.tensor([[[3.0, 0.0], [0.0, 4.0]], [[0.0, 2.0], [0.0, 0.0]]])
    found = embedding_spectrum([drift_direction(image) for image in images])
    assert found.values == pytest.approx(np.array([[4.0, 3.0], [2.0, 0.0]]))
    assert found.energy == pytest.approx(np.array([[0.64, 1.0], [1.0, 1.0]]))
    assert found.own.tolist() == [[0.0, 1.0], [0.0, 1.0]]


def test_images_with_different_numbers_of_tokens_have_no_common_spectrum():
    with pytest.raises(InvalidInput, match=r"\[3, 4\]"):
        embedding_spectrum([drift_direction(random(tokens, 9)) for tokens in (3, 4)])


def test_a_band_is_mean_and_spread_of_the_curves():
    found = band(np.array([[1.0, 0.0], [3.0, 0.0]]))
    assert found.mean.tolist() == [2.0, 0.0]
    assert found.std == pytest.approx([2**0.5, 0.0])
    assert np.isnan(found.low).all()  # two images are too few to be resampled


def test_the_interval_of_a_mean_narrows_with_images_and_holds_the_mean():
    few, many = (band(random(n, 3).abs().double().numpy()) for n in (8, 200))
    for found in (few, many):
        assert (found.low < found.mean).all()
        assert (found.mean < found.high).all()
    assert (many.high - many.low < few.high - few.low).all()
    # the bootstrap's interval of a mean is close to ± 1.96 standard errors
    assert many.high - many.low == pytest.approx(2 * 1.96 * many.std / 200**0.5, rel=0.15)


def test_one_image_has_no_spread():
    assert np.isnan(band(np.ones((1, 4))).std).all()


# each image's own direction


def test_cosines_leave_the_sign_of_each_image_out():
    own = [drift_direction(torch.tensor([row])) for row in ([1.0, 0.0], [-1.0, 0.0], [3.0, 4.0])]
    universal = drift_direction(torch.tensor([[1.0, 0.0]]))
    assert own_cosines(embedding_spectrum(own), universal) == pytest.approx([1.0, 1.0, 0.6])


def test_chance_is_what_random_directions_stay_below():
    width = 64
    axes = torch.nn.functional.normalize(random(20_000, width), dim=1)
    below = float((axes[:, 0].abs() < chance_cosine(width)).double().mean())
    assert below == pytest.approx(0.975, abs=0.005)
    assert chance_cosine(1) == 1.0


# ranking


def test_images_are_ranked_by_mean_or_by_their_largest_patch_whatever_its_sign():
    found = ranking(["a", "b", "c"], [torch.tensor([[1.0, 1.0], [0.0, -4.0]]), torch.tensor([[1.5, 1.5]])])
    assert found.mean.tolist() == [1.0, 2.0, 1.5]
    assert found.largest.tolist() == [1.0, 4.0, 1.5]
    assert [found.names[i] for i in found.order()] == ["b", "c", "a"]
    assert found.places("largest").tolist() == [3, 1, 2]


def test_ties_keep_the_order_of_names_and_nan_comes_last():
    found = ranking(["a", "b", "c"], [torch.tensor([[float("nan")], [2.0], [2.0]])])
    assert found.places().tolist() == [3, 1, 2]


def test_ranking_takes_one_chunk_at_a_time():
    alive = []

    def chunks():
        for _ in range(5):
            assert not alive  # the chunk before was let go
            yield torch.ones(2, 3)

    assert len(ranking(list("abcdefghij"), chunks()).mean) == 10


def test_as_many_names_as_images():
    with pytest.raises(ValueError, match="2 names were given for the shifts of 3 images"):
        ranking(["a", "b"], [torch.ones(3, 4)])
