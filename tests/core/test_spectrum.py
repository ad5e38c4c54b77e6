import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from projlens_core.errors import InvalidInput
from projlens_core.weights import spectrum as module
from projlens_core.weights.spectrum import spectrum


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def spiked(rows, cols, strengths, noise=1.0, seed=0):
    """Noise plus orthogonal rank-one parts of the given strengths."""
    left, right = (torch.linalg.qr(random(n, len(strengths), seed=seed + n))[0] for n in (rows, cols + 1))
    return noise * random(rows, cols, seed=seed) + (left * torch.tensor(strengths)) @ right[:cols].T


# spectrum


def test_diagonal_matrix_by_hand():
    # σ = 4, 3; energy 16/25, 1; stable rank 25/16; σ/Σσ = 4/7, 3/7
    result = spectrum(torch.tensor([[0.0, 4.0, 0.0], [-3.0, 0.0, 0.0]]))
    assert result.values.tolist() == pytest.approx([4.0, 3.0])
    assert result.energy.tolist() == pytest.approx([0.64, 1.0])
    assert result.stable_rank == pytest.approx(25 / 16)
    entropy = -(4 / 7 * math.log(4 / 7) + 3 / 7 * math.log(3 / 7))
    assert result.effective_rank == pytest.approx(math.exp(entropy))
    assert result.frobenius == pytest.approx(5.0)
    assert result.values.dtype == result.energy.dtype == np.float64


def test_identity_has_full_rank_by_every_measure_and_a_dyad_rank_one():
    identity, dyad = spectrum(torch.eye(5)), spectrum(torch.outer(torch.ones(4), torch.ones(3)))
    assert (identity.stable_rank, identity.effective_rank) == pytest.approx((5.0, 5.0))
    assert (dyad.stable_rank, dyad.effective_rank) == pytest.approx((1.0, 1.0), abs=1e-5)


def test_zero_matrix_has_no_rank_and_no_nan():
    result = spectrum(torch.zeros(3, 2))
    assert result.values.tolist() == result.energy.tolist() == [0.0, 0.0]
    assert (result.stable_rank, result.effective_rank) == (0.0, 0.0)


@pytest.mark.parametrize("shape", [(40, 40), (40, 64), (64, 40)])
def test_large_and_small_matrices_take_the_same_values(shape, monkeypatch):
    matrix = spiked(*shape, (1e3, 50.0), seed=3)
    exact = torch.linalg.svdvals(matrix.double()).numpy()
    np.testing.assert_allclose(spectrum(matrix).values, exact, rtol=1e-12)
    monkeypatch.setattr(module, "_SMALL", 0)  # force the way of large matrices
    np.testing.assert_allclose(spectrum(matrix).values, exact, rtol=1e-9)


def test_null_space_of_a_large_matrix_stays_far_below_float32(monkeypatch):
    monkeypatch.setattr(module, "_SMALL", 0)
    low = (random(48, 3, seed=1) @ random(3, 32, seed=2)).double()
    values = spectrum(low).values
    assert (values[3:] <= 1e-7 * values[0]).all()
    assert (values >= 0).all()


@pytest.mark.parametrize("scale", [1e-30, 1e-8, 1e30])
def test_values_scale_with_the_matrix_even_where_squares_leave_float32(scale):
    matrix = random(12, 9)
    np.testing.assert_allclose(spectrum(matrix * scale).values, spectrum(matrix).values * scale, rtol=1e-5)


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 12), cols=st.integers(1, 12), seed=st.integers(0, 10**6))
def test_spectrum_keeps_its_promises(rows, cols, seed):
    matrix = random(rows, cols, seed=seed)
    result = spectrum(matrix)
    k = min(rows, cols)
    assert result.values.shape == result.energy.shape == (k,)
    assert (np.diff(result.values) <= 0).all()
    assert (np.diff(result.energy) >= 0).all()
    assert result.energy[-1] == pytest.approx(1.0)
    assert result.energy.max() <= 1.0
    assert result.frobenius == pytest.approx(torch.linalg.matrix_norm(matrix).item(), rel=1e-5)
    assert 1 - 1e-9 <= result.stable_rank <= k + 1e-9
    assert 1 - 1e-9 <= result.effective_rank <= k + 1e-9
    rotation = torch.linalg.qr(random(rows, rows, seed=seed + 1))[0]
    np.testing.assert_allclose(spectrum(rotation @ matrix).values, result.values, atol=1e-5)
    np.testing.assert_allclose(spectrum(matrix.T).values, result.values, atol=1e-9)


@pytest.mark.parametrize(
    "matrix", [torch.ones(3), torch.ones(2, 0), torch.tensor([[1.0, float("nan")]]), torch.tensor([[float("inf")]])]
)
def test_what_has_no_spectrum_is_refused(matrix):
    with pytest.raises(InvalidInput):
        spectrum(matrix)
