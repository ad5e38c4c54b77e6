"""The embedding map lays all points on the two axes along which they vary most, the same for every projector."""

import numpy as np
import pytest
import torch

from projlens_core.activations.embedding_map import embedding_map


def drawn(n, d, scales, seed):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.zeros(n, d, dtype=torch.float64)
    rows[:, : len(scales)] = torch.randn(n, len(scales), dtype=torch.float64, generator=generator) * torch.tensor(
        scales
    )
    turn, _ = torch.linalg.qr(torch.randn(d, d, dtype=torch.float64, generator=generator))
    return rows @ turn


@pytest.mark.parametrize(("n", "d"), [(40, 12), (12, 40), (3, 2)])
def test_the_map_is_the_pca_of_all_points_together(n, d):
    rows = drawn(2 * n, d, [5.0, 3.0, 1.0, 0.5][:d], seed=1)
    found = embedding_map({"base": {"clean": rows[:n]}, "suspect": {"clean": rows[n:]}})
    left, values, _ = torch.linalg.svd(rows - rows.mean(dim=0), full_matrices=False)
    expected = (left * values)[:, :2].numpy()
    made = np.concatenate([found.points["base"]["clean"], found.points["suspect"]["clean"]])
    np.testing.assert_allclose(np.abs(made), np.abs(expected), atol=1e-8)
    shares = values.square() / values.square().sum()
    np.testing.assert_allclose(found.explained, shares[:2], atol=1e-10)


def test_points_that_do_not_vary_lie_at_the_origin_and_explain_nothing():
    found = embedding_map({"base": {"clean": torch.ones(4, 3), "triggered": torch.ones(4, 3)}})
    assert found.explained == (0.0, 0.0)
    assert not found.points["base"]["triggered"].any()
    assert found.ends() == ((-1.0, 1.0), (-1.0, 1.0))


def test_the_same_points_give_the_same_map_and_its_ends_hold_all_of_them():
    rows = drawn(30, 8, [4.0, 2.0], seed=3)
    sets = {"base": {"clean": rows[:10], "triggered": rows[10:20]}, "suspect": {"clean": rows[20:]}}
    found, again = embedding_map(sets), embedding_map(sets)
    for role, by in found.points.items():
        for condition, points in by.items():
            assert np.array_equal(points, again.points[role][condition])
            for axis, (low, high) in enumerate(found.ends()):
                assert low < points[:, axis].min()
                assert points[:, axis].max() < high
