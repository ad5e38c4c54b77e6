import math

import numpy as np
import pytest
import torch

from projlens_core.errors import InvalidInput
from projlens_core.weights import noise as module
from projlens_core.weights.noise import bulk_edge, noise_edge
from projlens_core.weights.spectrum import spectrum
from tests.core.test_spectrum import random, spiked

# shuffled entries


def test_noise_shows_no_spikes_and_its_edge_is_that_of_marchenko_and_pastur():
    edge = noise_edge(random(200, 300))
    assert edge.spikes == 0
    assert edge.edge == pytest.approx(math.sqrt(200) + math.sqrt(300), rel=0.05)


def test_noise_rarely_shows_a_spike():
    assert sum(noise_edge(random(40, 60, seed=i), seed=i).spikes > 0 for i in range(40)) <= 1


@pytest.mark.parametrize("strengths", [(60.0,), (90.0, 60.0, 45.0), (3000.0, 60.0)])
def test_spikes_above_noise_are_counted_even_beside_a_much_larger_one(strengths):
    edge = noise_edge(spiked(120, 160, strengths))  # noise ends at √120 + √160 ≈ 23.6
    assert edge.spikes == len(strengths)
    assert edge.edge == pytest.approx(23.6, rel=0.08)


def test_spikes_below_the_noise_are_not_claimed():
    assert noise_edge(spiked(120, 160, (8.0,))).spikes == 0


def test_heavy_tailed_entries_without_structure_are_no_spikes():
    entries = torch.distributions.StudentT(3.0)
    torch.manual_seed(0)
    assert noise_edge(entries.sample((150, 150))).spikes <= 1


def test_rounding_under_an_exactly_low_rank_matrix_is_no_spike():
    assert noise_edge(random(90, 2) @ random(2, 60, seed=1)).spikes == 2


def test_a_spectrum_without_a_bulk_does_not_drag_the_edge_down_to_its_last_value():
    u, _, vh = torch.linalg.svd(random(80, 80))
    edge = noise_edge(u @ torch.diag(torch.exp(-torch.arange(80.0) / 20)) @ vh)
    assert edge.method == "shuffled entries, not lowered"
    assert edge.edge == pytest.approx(2 * math.sqrt(80) * 3.24 / 80, rel=0.1)  # ‖A‖_F = √(Σ exp(−k/10)) = 3.24
    assert edge.spikes == 6  # exp(−5/20) = 0.78, exp(−6/20) = 0.74


def test_edge_depends_on_the_seed_alone_and_scales_with_the_matrix():
    matrix = spiked(50, 70, (40.0,))
    assert noise_edge(matrix, seed=5) == noise_edge(matrix, seed=5, known=spectrum(matrix))
    assert noise_edge(matrix, seed=5).edge != noise_edge(matrix, seed=6).edge
    assert noise_edge(matrix * 1e-3).edge == pytest.approx(noise_edge(matrix).edge * 1e-3, rel=1e-4)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    noise_edge(matrix)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("shape", [(120, 120), (120, 160), (160, 120)])
def test_entries_too_many_for_one_shuffle_are_shuffled_row_by_row_to_the_same_end(shape, monkeypatch):
    matrix = spiked(*shape, (90.0,))
    at_once = noise_edge(matrix)
    monkeypatch.setattr(module, "_NULL_ENTRIES", 1)
    shuffled = module._shuffled(matrix, torch.Generator().manual_seed(0))
    assert torch.equal(shuffled.flatten().sort()[0], matrix.flatten().sort()[0])
    by_row = noise_edge(matrix)
    assert by_row.spikes == at_once.spikes
    assert by_row.edge == pytest.approx(at_once.edge, rel=0.06)


def test_a_strong_row_is_dealt_out_over_all_rows(monkeypatch):
    monkeypatch.setattr(module, "_NULL_ENTRIES", 1)
    matrix = torch.zeros(64, 64)
    matrix[5] = 1.0
    shuffled = module._shuffled(matrix, torch.Generator().manual_seed(0))
    assert shuffled.sum(dim=1).tolist() == [1.0] * 64
    assert shuffled.sum(dim=0).max() < 10  # at random places in them


def test_zero_matrix_has_no_edge():
    edge = noise_edge(torch.zeros(4, 5))
    assert (edge.edge, edge.spikes) == (0.0, 0)


def test_largest_value_is_found_without_all_others():
    for shape in ((300, 500), (500, 300), (7, 3), (1, 9)):
        matrix = random(*shape)
        found = module._largest(matrix, torch.Generator().manual_seed(0))
        assert found == pytest.approx(torch.linalg.svdvals(matrix)[0].item(), rel=1e-4)


@pytest.mark.parametrize(
    "matrix", [torch.ones(3), torch.ones(2, 0), torch.tensor([[1.0, float("nan")]]), torch.tensor([[float("inf")]])]
)
def test_what_has_no_spectrum_has_no_edge(matrix):
    with pytest.raises(InvalidInput):
        noise_edge(matrix)


# Marchenko–Pastur


def fitted(matrix):
    return bulk_edge(spectrum(matrix).values, tuple(matrix.shape))


@pytest.mark.parametrize("shape", [(200, 300), (300, 200), (160, 160), (64, 1024)])
def test_on_pure_noise_the_law_finds_its_variance_its_edge_and_no_spike(shape):
    edge = fitted(0.5 * random(*shape))
    assert edge.deviation == pytest.approx(0.5, rel=0.02)
    assert edge.edge == pytest.approx(0.5 * (math.sqrt(shape[0]) + math.sqrt(shape[1])), rel=0.05)
    assert (edge.spikes, edge.fits) == (0, True)


def test_noise_rarely_shows_a_spike_beyond_the_law():
    assert sum(fitted(random(60, 90, seed=i)).spikes > 0 for i in range(40)) <= 1


def test_quantiles_of_the_square_law_are_those_of_a_quarter_circle():
    # aspect 1: σ/√n has density √(4 − x²)/π on 0 to 2
    x = np.linspace(0, 2, 20001)
    cumulative = np.cumsum(np.sqrt(4 - x**2))
    expected = np.interp(module._QUANTILES, cumulative / cumulative[-1], x)
    np.testing.assert_allclose(module._law_quantiles(1.0), expected, rtol=2e-3)


def test_spikes_do_not_lift_the_edge_of_the_law():
    edge = fitted(spiked(120, 160, (3000.0, 60.0, 40.0)))  # noise ends at √120 + √160 ≈ 23.6
    assert edge.spikes == 3
    assert edge.edge == pytest.approx(23.6, rel=0.05)
    assert edge.fits


def without_bulk():
    u, _, vh = torch.linalg.svd(random(80, 80))
    return u @ torch.diag(torch.exp(-torch.arange(80.0) / 20)) @ vh


def rows_of_unequal_variance():
    return random(200, 200) * torch.linspace(0.05, 3, 200)[:, None] ** 2


@pytest.mark.parametrize("matrix", [without_bulk(), rows_of_unequal_variance()])
def test_a_bulk_that_is_no_such_noise_is_no_fit(matrix):
    edge = fitted(matrix)
    assert edge is None or not edge.fits


def test_a_low_rank_change_has_its_spikes_and_nothing_else():
    assert fitted(random(90, 2) @ random(2, 60, seed=1)).spikes == 2


@pytest.mark.parametrize("values", [np.zeros(40), np.r_[np.ones(3), np.zeros(60)], np.ones(5)])
def test_without_a_bulk_there_is_nothing_to_fit(values):
    assert bulk_edge(values, (len(values), len(values))) is None


def test_the_law_scales_with_the_matrix():
    values = spectrum(spiked(50, 70, (40.0,))).values
    one, other = bulk_edge(values, (50, 70)), bulk_edge(values * 1e-3, (50, 70))
    assert other.edge == pytest.approx(one.edge * 1e-3)
    assert (other.spikes, other.misfit) == (one.spikes, pytest.approx(one.misfit))
