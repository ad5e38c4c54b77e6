import numpy as np
import pytest
import torch

from projlens_core.errors import InvalidInput
from projlens_core.weights.blocks import blocks


def test_blocks_of_a_small_matrix_by_hand():
    matrix = torch.tensor([[1.0, -1.0, 0.0, 3.0], [1.0, 1.0, 4.0, 0.0]])
    found = blocks(matrix, cells=2)
    assert found.largest.tolist() == [[1.0, 3.0], [1.0, 4.0]]
    assert found.rms.tolist() == [[1.0, pytest.approx(np.sqrt(4.5))], [1.0, pytest.approx(np.sqrt(8.0))]]
    assert (found.rows.tolist(), found.columns.tolist()) == ([0, 1, 2], [0, 2, 4])
    assert found.even == pytest.approx(np.sqrt((4 + 9 + 16) / 8))
    assert found.entries == 2


def test_a_window_small_enough_shows_every_entry():
    matrix = torch.randn(30, 40, generator=torch.Generator().manual_seed(0))
    found = blocks(matrix, rows=(5, 9), columns=(30, 40), cells=96)
    expected = matrix[5:9, 30:40].abs().numpy()
    np.testing.assert_allclose(found.largest, expected)
    np.testing.assert_allclose(found.rms, expected)
    assert found.entries == 1
    assert (found.rows[0], found.rows[-1], found.columns[0], found.columns[-1]) == (5, 9, 30, 40)


@pytest.mark.parametrize("shape", [(97, 500), (96, 95), (1, 1000), (193, 7)])
def test_every_entry_is_in_exactly_one_block(shape):
    matrix = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
    found = blocks(matrix)
    counts = np.outer(np.diff(found.rows), np.diff(found.columns))
    assert counts.sum() == matrix.numel()
    assert max(found.rms.shape) <= 96
    assert (found.rms**2 * counts).sum() == pytest.approx(matrix.double().square().sum().item())
    assert found.largest.max() == matrix.abs().max().item()
    assert np.ptp(np.diff(found.rows)) <= 1


def test_one_strong_entry_lights_the_largest_and_hardly_the_rms():
    matrix = torch.full((960, 960), 0.01)
    matrix[500, 20] = -1.0
    found = blocks(matrix)
    assert found.largest[50, 2] == 1.0
    assert found.rms[50, 2] == pytest.approx(0.1, rel=0.01)  # 1 / √100
    assert found.rms.max() < 0.11


@pytest.mark.parametrize("rows", [(3, 3), (-1, 2), (0, 6), (4, 2)])
def test_a_window_that_is_not_in_the_matrix_is_refused(rows):
    with pytest.raises(InvalidInput, match="not a part of the matrix"):
        blocks(torch.ones(5, 5), rows=rows)


def test_a_vector_has_no_heatmap():
    with pytest.raises(InvalidInput, match="needs a matrix"):
        blocks(torch.ones(5))
