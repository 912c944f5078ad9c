from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lesionlab.imaging.quality.outliers import robust_z


def test_robust_z_by_hand():
    # Median 3; differences -2, -1, 0, 1, 97, of which the median size is 1; so z = difference / 1.4826.
    np.testing.assert_allclose(robust_z([1, 2, 3, 4, 100]), np.array([-2, -1, 0, 1, 97]) / 1.4826)


def test_most_values_equal_falls_back_to_the_mean_deviation():
    # Median 5, differences 0, 0, 0, 0, 4: MAD 0, mean 0.8; so the last is 4 / (0.8 * 1.2533) away.
    np.testing.assert_allclose(robust_z([5, 5, 5, 5, 9]), [0, 0, 0, 0, 4 / (0.8 * 1.2533)])


def test_a_spread_below_the_grain_counts_as_the_grain():
    # 1.4826 times the MAD of 0.001 is less than the grain of 0.1: 0.2 above the median is 2 grains.
    found = robust_z([1.0, 1.001, 0.999, 1.001, 1.2], grain=0.1)
    assert found[-1] == pytest.approx((1.2 - 1.001) / 0.1)
    np.testing.assert_array_equal(robust_z([1, 2, 3, 4, 100], grain=0.1), robust_z([1, 2, 3, 4, 100]))


def test_few_values_have_no_outliers_but_a_missing_one():
    # Three scans whose registration moved by 2.0, 2.1 and 9 mm: the 2.1 alone would make the 9 a 47-fold outlier.
    assert robust_z([2.0, 2.1, 9.0]).tolist() == [0, 0, 0]
    assert robust_z([2.0, 2.1, math.nan]).tolist() == [0, 0, math.inf]


def test_only_those_asked_say_what_is_usual():
    # The first five alone: median 3, MAD 1; the sixth is 10 - 3 = 7 away, and would have been nearer among all six.
    among = [True] * 5 + [False]
    np.testing.assert_allclose(robust_z([1, 2, 3, 4, 5, 10], among=among), np.array([-2, -1, 0, 1, 2, 7]) / 1.4826)
    assert robust_z([1, 2, 3, 4, 5, 10], among=[True] * 4 + [False] * 2).tolist() == [0] * 6  # four decide nothing
    assert robust_z([2, 2, 2, 2, 2, 3], among=among).tolist() == [0, 0, 0, 0, 0, math.inf]


def test_infinite_values_are_infinitely_far():
    assert robust_z([2, 2, -math.inf]).tolist() == [0, 0, -math.inf]


@given(st.lists(st.floats(-1e3, 1e3), min_size=5, max_size=20), st.floats(0.1, 10), st.floats(-100, 100))
def test_robust_z_knows_no_unit(values, scale, shift):
    numbers = np.asarray(values)
    spread = np.ptp(numbers)
    middle = np.median(np.abs(numbers - np.median(numbers)))
    if spread < 1e-3 or middle < 1e-6 * spread:  # rounding would decide
        return
    np.testing.assert_allclose(robust_z(numbers * scale + shift), robust_z(numbers), rtol=1e-4, atol=1e-4)
