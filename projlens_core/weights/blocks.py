"""A matrix at the size of a screen: each cell tells the largest and the typical entry of its block."""

from dataclasses import dataclass

import numpy as np
import torch

from projlens_core.errors import InvalidInput

CELLS = 96  # a side: 4096 × 4096 entries become blocks of 42 or 43 on a side


@dataclass(frozen=True)
class Blocks:
    """A window of a matrix, cut into blocks of neighbouring entries.

    largest: (r, c), max |entry| of each block, which one strong entry suffices to lift. rms: (r, c), the root mean
    square of each block, which a weak change all over it lifts. rows, columns: (r + 1,) and (c + 1,), where the blocks
    begin and the last one ends, counted from 0 in the whole matrix. Where no block holds more than one entry, both
    are |entry| itself. even: the root mean square of the window, which every block's would be near to if the entries
    stood in random order.
    """

    largest: np.ndarray
    rms: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    even: float

    @property
    def entries(self) -> int:
        """The most entries that one cell stands for."""
        return int(np.diff(self.rows).max() * np.diff(self.columns).max())


def blocks(
    matrix: torch.Tensor,
    rows: tuple[int, int] | None = None,
    columns: tuple[int, int] | None = None,
    cells: int = CELLS,
) -> Blocks:
    """The window rows[0] ≤ row < rows[1] (all by default), columns alike, of a matrix in at most cells × cells blocks.

    Blocks differ in size by one entry at most. InvalidInput for a window that is empty or not inside the matrix.
    """
    if matrix.ndim != 2:
        raise InvalidInput(f"A heatmap needs a matrix, found shape {tuple(matrix.shape)}.")
    rows, columns = rows or (0, matrix.shape[0]), columns or (0, matrix.shape[1])
    for name, (low, high), size in (("Rows", rows, matrix.shape[0]), ("Columns", columns, matrix.shape[1])):
        if not 0 <= low < high <= size:
            raise InvalidInput(f"{name} {low} to {high} are not a part of the matrix, which has 0 to {size}.")
    window = matrix[slice(*rows), slice(*columns)].abs().numpy()
    starts, edges = zip(*(_cut(span, cells) for span in (rows, columns)), strict=True)
    largest = np.maximum.reduceat(np.maximum.reduceat(window, starts[1], axis=1), starts[0], axis=0)
    squares = np.add.reduceat(np.square(window, dtype=np.float64), starts[1], axis=1)
    squares = np.add.reduceat(squares, starts[0], axis=0)
    counts = np.outer(np.diff(edges[0]), np.diff(edges[1]))
    even = float(np.sqrt(squares.sum() / counts.sum()))
    return Blocks(largest.astype(np.float64), np.sqrt(squares / counts), edges[0], edges[1], even)


def _cut(span: tuple[int, int], cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the blocks begin within the window, and all their edges within the whole matrix."""
    low, high = span
    edges = np.linspace(low, high, min(cells, high - low) + 1).astype(int)
    return edges[:-1] - low, edges
