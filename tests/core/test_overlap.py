import math

import numpy as np
import pytest
import torch

from projlens_core.errors import InvalidInput
from projlens_core.weights.overlap import overlap, subspaces
from projlens_core.weights.triplets import leading


def random_basis(d, k, seed):
    return torch.linalg.qr(torch.randn(d, k, generator=torch.Generator().manual_seed(seed)))[0]


def tilted(d, degrees):
    """Two bases whose i-th columns enclose the given angles and are otherwise orthogonal."""
    first, second = torch.eye(d)[:, : len(degrees)], torch.zeros(d, len(degrees))
    for i, angle in enumerate(degrees):
        second[i, i], second[len(degrees) + i, i] = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return first, second


def test_known_angles_are_found_in_ascending_order():
    found = subspaces(*tilted(12, (60.0, 0.0, 20.0)))
    assert found.angles.tolist() == pytest.approx([0.0, 20.0, 60.0], abs=0.05)
    cosines = np.cos(np.radians([0, 20, 60]))
    assert found.shared == pytest.approx(np.mean(cosines**2), abs=1e-6)
    assert found.chance_shared == 3 / 12


def test_angles_do_not_depend_on_the_basis_of_either_subspace():
    first, second = tilted(20, (10.0, 50.0))
    turn = torch.tensor([[math.cos(1), -math.sin(1)], [math.sin(1), math.cos(1)]])
    np.testing.assert_allclose(subspaces(first @ turn, second).angles, [10, 50], atol=1e-3)


def test_chance_is_what_random_subspaces_show():
    d, k = 40, 3
    drawn = np.array([subspaces(random_basis(d, k, s), random_basis(d, k, s + 1000)).angles for s in range(300)])
    found = subspaces(random_basis(d, k, 1), random_basis(d, k, 2))
    np.testing.assert_allclose(found.chance_median, np.median(drawn, axis=0), atol=2)
    np.testing.assert_allclose(found.chance_low, np.quantile(drawn, 0.025, axis=0), atol=3)
    assert (np.cos(np.radians(drawn)) ** 2).mean() == pytest.approx(found.chance_shared, rel=0.05)


def test_one_random_direction_against_another_has_the_angle_known_in_closed_form():
    # in the plane the angle of two lines is uniform on 0 to 90 degrees
    found = subspaces(torch.eye(2)[:, :1], torch.eye(2)[:, 1:])
    assert found.angles.tolist() == [90.0]
    assert found.chance_median[0] == pytest.approx(45, abs=5)


def test_random_subspaces_are_not_called_close_and_equal_ones_are():
    one, other = random_basis(200, 5, 3), random_basis(200, 5, 4)
    assert subspaces(one, other).closer_than_chance == 0
    assert subspaces(one, one).closer_than_chance == 5


def test_two_changes_that_write_alike_and_read_differently_are_told_apart():
    left, right, other = random_basis(30, 2, 5), random_basis(40, 2, 6), random_basis(40, 2, 7)
    strengths = torch.tensor([3.0, 2.0])
    found = overlap(leading((left * strengths) @ right.T, 4), leading((left * strengths) @ other.T, 4), 2)
    assert found.left.angles.max() < 0.1
    assert found.left.dimension == 30
    expected = subspaces(right, other)
    np.testing.assert_allclose(found.right.angles, expected.angles, atol=1e-2)


@pytest.mark.parametrize("shapes", [((6, 2), (7, 2)), ((6, 2), (6, 3)), ((6, 4), (6, 4)), ((6, 0), (6, 0))])
def test_subspaces_that_cannot_be_compared_are_refused(shapes):
    with pytest.raises(InvalidInput, match="cannot be compared"):
        subspaces(*(torch.eye(*shape) for shape in shapes))
