from __future__ import annotations

import numpy as np
import pytest

from lesionlab.imaging.anatomy.averaging import average, store, weighted_mean, weighted_median

SHAPE = (5, 7, 3)


@pytest.fixture
def stack():
    return np.random.default_rng(1).normal(size=(6, *SHAPE)).astype(np.float32)


def files(stack, folder, kind="image"):
    return [store(data, folder / f"{kind}{k}") for k, data in enumerate(stack)]


@pytest.mark.parametrize("block_bytes", [1, 100, 1000, 10**6])
def test_blocks_give_what_the_whole_stack_gives(stack, tmp_path, block_bytes):
    places = files(stack, tmp_path)
    median = average(places, None, SHAPE, "median", block_bytes)
    np.testing.assert_array_equal(median, np.median(stack, axis=0))
    mean = average(places, None, SHAPE, "mean", block_bytes)
    np.testing.assert_array_equal(mean, stack.mean(axis=0, dtype=np.float64).astype(np.float32))


@pytest.mark.parametrize("kind", ["mean", "median"])
def test_weighted_blocks_give_what_the_whole_stack_gives(stack, tmp_path, kind):
    weights = np.random.default_rng(2).uniform(size=stack.shape).astype(np.float32)
    places, shares = files(stack, tmp_path), files(weights, tmp_path, "weight")
    whole = {"mean": weighted_mean, "median": weighted_median}[kind](stack, weights).astype(np.float32)
    for block_bytes in (64, 10**6):
        np.testing.assert_array_equal(average(places, shares, SHAPE, kind, block_bytes), whole)


def test_equal_weights_are_no_weights(stack):
    ones = np.full_like(stack, 0.3)
    for some in (stack[:5], stack):  # an odd and an even number
        np.testing.assert_allclose(weighted_median(some, ones[: len(some)]), np.median(some, axis=0), atol=1e-6)
        np.testing.assert_allclose(weighted_mean(some, ones[: len(some)]), some.mean(axis=0), atol=1e-6)


def test_weights_count_as_often_as_they_say():
    # The weighted median of values with whole weights is the median of the values repeated as often.
    values, weights = np.array([[7.0], [1.0], [4.0], [9.0]]), np.array([[1.0], [3.0], [2.0], [1.0]])
    repeated = [1, 1, 1, 4, 4, 7, 9]
    assert weighted_median(values, weights)[0] == np.median(repeated) == 4
    assert weighted_mean(values, weights)[0] == pytest.approx(np.mean(repeated))
    values, weights = values[:3], np.array([[1.0], [3.0], [2.0]])  # half of the weight lies on 1: 1 1 1 4 4 7
    assert weighted_median(values, weights)[0] == np.median([1, 1, 1, 4, 4, 7]) == 2.5


def test_a_weight_of_zero_leaves_out_and_all_zeros_leave_all(tmp_path):
    stack = np.array([[1.0, 1.0], [2.0, 2.0], [90.0, 90.0]], dtype=np.float32)
    weights = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]], dtype=np.float32)
    places, shares = files(stack, tmp_path), files(weights, tmp_path, "weight")
    np.testing.assert_array_equal(average(places, shares, (2,), "mean"), [1.5, 31.0])
    np.testing.assert_array_equal(average(places, shares, (2,), "median"), [1.5, 2.0])
