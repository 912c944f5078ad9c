"""Distances of all pairs against scipy."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from lesionlab.metrics.distances import chunks, squared_distances


def test_squared_distances_agree_with_scipy():
    draw = np.random.default_rng(0)
    one, other = draw.normal(5, 1, (7, 4)), draw.normal(5, 1, (3, 4))
    np.testing.assert_allclose(squared_distances(one, other), cdist(one, other, "sqeuclidean"))


def test_far_from_the_origin_no_digit_is_lost():
    one = np.array([[1e6, 1e6], [1e6 + 1e-3, 1e6]])
    np.testing.assert_allclose(squared_distances(one, one)[0, 1], 1e-6, rtol=1e-3)


@given(st.integers(0, 50), st.integers(1, 9))
def test_chunks_cover_everything_once(length, size):
    covered = [i for part in chunks(length, size) for i in range(length)[part]]
    assert covered == list(range(length))
    assert all(part.stop - part.start <= size for part in chunks(length, size))
