from __future__ import annotations

import numpy as np
import pytest

from lesionlab.imaging.similarity import correlation, mutual_information


def test_mutual_information_of_two_equal_coins_is_log_two():
    coin = np.array([0, 1, 0, 1])
    assert mutual_information(coin, 1 - coin, bins=2) == pytest.approx(np.log(2))


def test_independent_coins_share_nothing():
    assert mutual_information(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), bins=2) == pytest.approx(0)


def test_correlation_within_a_mask():
    one, other = np.array([1.0, 2, 3, 100]), np.array([3.0, 2, 1, 100])
    assert correlation(one, other, np.array([1, 1, 1, 0])) == pytest.approx(-1)
    assert correlation(one, np.ones(4)) == 0
