"""Between which numbers the values of a quantised tensor were rounded, and how far rounding moves a value there."""

from dataclasses import dataclass

import torch

# Significant bits of 8-bit floats, and the step below which their numbers do not get finer.
_FLOATS = {"float8_e4m3fn": (4, 2.0**-9), "float8_e5m2": (3, 2.0**-16)}


@dataclass(frozen=True)
class ValueGrid:
    """The numbers that a quantised tensor (rows, columns) can hold, group by group: whole multiples of the group's
    unit, or of a unit times the numbers of a table or of an 8-bit float.

    units: (R, C) with the group of each row in `rows` (rows,) and of each column in `columns` (columns,); or (B,),
    where groups are runs of `run` values, row by row. levels: the table, ascending, in units. float8: the float, as
    torch names it. calibrated: whether quantisers of this form often do not round to the nearest number, but rescale
    weights before or make up for earlier errors in later ones; they move a weight further than this says.
    """

    units: torch.Tensor
    rows: torch.Tensor | None = None
    columns: torch.Tensor | None = None
    run: int = 0
    levels: torch.Tensor | None = None
    float8: str | None = None
    calibrated: bool = False

    def variance(self, values: torch.Tensor, first: int) -> torch.Tensor:
        """The variance that rounding to these numbers left in each of `values` (n, columns), the rows from `first` on.

        step²/12 where a value is as likely anywhere between two neighbours (Widrow & Kollár 2008). Between numbers of a
        table, whose steps a and 2b to both sides differ: (a³ + b³) / 3(a + b), for half steps a and b.
        """
        unit = self._unit(values.shape, first)
        scaled = torch.where(unit == 0, 0.0, values / unit)
        if self.levels is not None:
            half = self.levels.diff() / 2
            below, above = torch.cat([half.new_zeros(1), half]), torch.cat([half, half.new_zeros(1)])
            errors = (below**3 + above**3) / (3 * (below + above))
            shares = errors[torch.bucketize(scaled, (self.levels[1:] + self.levels[:-1]) / 2)]
        elif self.float8 is not None:
            bits, smallest = _FLOATS[self.float8]
            power = torch.ldexp(torch.ones_like(scaled), torch.frexp(scaled).exponent - 1)
            shares = (power * 2.0 ** (1 - bits)).clamp_min(smallest) ** 2 / 12
        else:
            shares = torch.full_like(scaled, 1 / 12)
        return shares * unit**2

    def transposed(self) -> "ValueGrid | None":
        """Of the tensor's transpose; None where groups follow the order in which it is stored."""
        if self.run:
            return None
        return ValueGrid(self.units.T, self.columns, self.rows, 0, self.levels, self.float8, self.calibrated)

    def _unit(self, shape: torch.Size, first: int) -> torch.Tensor:
        if self.rows is not None:
            return self.units[self.rows[first : first + shape[0]]][:, self.columns]
        place = torch.arange(first * shape[1], (first + shape[0]) * shape[1])
        return self.units[place // self.run].reshape(shape)
