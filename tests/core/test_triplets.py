import pytest
import torch

from projlens_core.errors import InvalidInput
from projlens_core.weights import triplets as module
from projlens_core.weights.triplets import leading

SIDE = 430  # just large enough for the randomised way to be taken for 13 triplets


@pytest.fixture(autouse=True)
def small_block(monkeypatch):
    monkeypatch.setattr(module, "_LEAST", 8)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def planted(values, rows=SIDE, cols=SIDE + 60, noise=0.0):
    """Orthogonal rank-one parts of the given strengths, noise whose largest singular value is near `noise`."""
    u, v = (torch.linalg.qr(random(n, len(values), seed=n))[0] for n in (rows, cols))
    flat = noise / (rows**0.5 + cols**0.5) * random(rows, cols)
    return flat + (u * torch.tensor(values)) @ v.T, u, v


def test_triplets_of_a_diagonal_matrix_by_hand():
    found = leading(torch.tensor([[0.0, 4.0, 0.0], [-3.0, 0.0, 0.0]]), 2)
    assert found.exact
    assert found.values.tolist() == pytest.approx([4.0, 3.0])
    assert found.u.abs().tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert found.v.abs().tolist() == [[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]]
    assert (found.u[:, 1] @ torch.tensor([0.0, -3.0])) * found.v[0, 1] == pytest.approx(3.0)  # signs of a pair agree


@pytest.mark.parametrize("transposed", [False, True])
def test_planted_spikes_are_found_to_five_digits_without_a_full_decomposition(transposed):
    matrix, u, v = planted((8.0, 4.0, 2.0), noise=1.0)
    found = leading(matrix.T if transposed else matrix, 5)
    exact = torch.linalg.svdvals(matrix)[:5]
    assert not found.exact
    torch.testing.assert_close(found.values[:3], exact[:3], rtol=1e-5, atol=0)
    torch.testing.assert_close(found.values[3:], exact[3:], rtol=5e-3, atol=0)
    assert (found.residuals[:3] <= 1e-5 * found.values[:3]).all()
    left, right = (found.v, found.u) if transposed else (found.u, found.v)
    assert ((left[:, 0] @ u[:, 0]) * (right[:, 0] @ v[:, 0])).item() > 0.97


def test_every_residual_bounds_the_error_of_its_value():
    matrix = random(SIDE, SIDE + 200)
    found, exact = leading(matrix, 8), torch.linalg.svdvals(matrix)[:8]
    assert not found.exact
    assert ((found.values - exact).abs() <= found.residuals + 1e-4).all()
    for vectors in (found.u, found.v):
        torch.testing.assert_close(vectors.T @ vectors, torch.eye(8), rtol=0, atol=1e-4)


def test_twelve_equal_values_are_all_found():
    found = leading(planted((0.5,) * 12, noise=0.1)[0], 13)
    assert not found.exact
    assert (found.values[:12] > 0.49).all()
    assert found.values[12] < 0.2


def test_what_lies_beyond_the_rank_is_next_to_zero_and_no_reason_to_start_again():
    found = leading(planted((3.0, 1.0))[0], 6)
    assert not found.exact
    assert found.values[:2].tolist() == pytest.approx([3.0, 1.0], rel=1e-5)
    assert (found.values[2:] < 1e-5).all()


def test_where_the_residual_is_above_the_tolerance_all_triplets_are_computed():
    matrix = random(SIDE, SIDE)
    strict = leading(matrix, 8, tolerance=1e-6)
    assert strict.exact
    torch.testing.assert_close(strict.values, torch.linalg.svdvals(matrix)[:8], rtol=1e-5, atol=0)
    assert leading(matrix, 8, exact=True).exact


def test_fewer_triplets_are_the_first_of_more_and_the_same_each_time():
    matrix = planted((8.0, 4.0), noise=1.0)[0]
    three, five = leading(matrix, 3), leading(matrix, 5)
    for name in ("u", "values", "v", "residuals"):
        assert torch.equal(getattr(three, name), getattr(five.first(3), name))


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_triplets_scale_with_the_matrix_even_where_squares_leave_float32(scale):
    matrix = planted((8.0, 4.0), noise=1.0)[0]
    torch.testing.assert_close(leading(matrix * scale, 2).values, leading(matrix, 2).values * scale, rtol=1e-4, atol=0)


def test_a_zero_matrix_has_zero_values():
    assert not leading(torch.zeros(SIDE, SIDE), 3).values.any()


@pytest.mark.parametrize(
    ("matrix", "k"), [(torch.ones(3), 1), (torch.ones(2, 4), 0), (torch.ones(2, 4), 3), (torch.tensor([[1e39]]), 1)]
)
def test_what_has_no_such_triplets_is_refused(matrix, k):
    with pytest.raises(InvalidInput):
        leading(matrix, k)
