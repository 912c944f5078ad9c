from __future__ import annotations

import math

import pytest

from lesionlab.imaging.quality.profiles import profile_distances


def test_distances_by_hand():
    found = {"a": [[1.0, 2.0]], "b": [[1.0, 2.0]], "c": [[4.0, 6.0]]}
    # The median profile is (1, 2); c lies 3 and 4 away: sqrt((9 + 16) / 2).
    assert profile_distances(found) == {"a": 0, "b": 0, "c": pytest.approx(math.sqrt(12.5))}


def test_the_median_place_decides():
    same = [[0.0], [0.0], [0.0]]
    one_off = [[0.0], [9.0], [0.0]]
    two_off = [[5.0], [9.0], [0.0]]
    found = profile_distances({"a": same, "b": same, "c": same, "d": one_off, "e": two_off})
    assert found == {"a": 0, "b": 0, "c": 0, "d": 0, "e": 5}


def test_missing_values_are_passed_over():
    nan = math.nan
    found = profile_distances({"a": [[1.0, nan]], "b": [[1.0, nan]], "c": [[2.0, 7.0]], "d": [[nan, nan]]})
    assert found["a"] == 0 and found["c"] == pytest.approx(math.sqrt(0.5))  # 1 from the median, and 0 from its own
    assert math.isnan(found["d"])
    assert profile_distances({}) == {}
