"""The name of a noise edge lies over no curve, no axis, no key and no other name."""

import numpy as np

from projlens_core.analyses.spectrum.name_places import free_place

TALL = np.linspace(1.0, 0.8, 30)  # stays above every edge here
FALLING = np.concatenate([[1.0, 0.6, 0.4], np.linspace(0.3, 0.1, 27)])


def test_a_name_stands_below_its_line_at_the_left_where_curves_are_above():
    place = free_place("noise edge", 0.3, [TALL], 1.0, [])
    assert (place.side, place.above) == ("left", False)


def test_where_a_curve_crosses_there_it_stands_at_the_right():
    place = free_place("noise edge", 0.4, [TALL, FALLING], 1.0, [])
    assert (place.side, place.above) == ("right", True)


def test_it_stands_neither_on_the_numbers_of_the_axis_nor_in_the_key():
    low = free_place("noise edge", 0.05, [TALL], 1.0, [])
    assert (low.side, low.above) == ("right", True)
    high = free_place("noise edge", 0.5, [FALLING], 1.0, [])
    assert (high.side, high.above) == ("right", False)  # above it is the key


def test_two_names_do_not_lie_over_each_other():
    first = free_place("noise edge", 0.3, [TALL], 1.0, [])
    second = free_place("law", 0.32, [TALL], 1.0, [first])
    assert first.side != second.side or first.high <= second.low or second.high <= first.low


def test_where_nothing_is_free_there_is_a_place_all_the_same():
    full = [np.full(30, level) for level in np.linspace(0, 1, 50)]
    assert free_place("noise edge", 0.5, full, 1.0, []).high == 0.6
