from __future__ import annotations

import numpy as np
import pytest

from lesionlab.imaging.registration.pose import make_pair, rigid_matrix
from lesionlab.imaging.transforms import translation
from lesionlab.imaging.volume import Volume


def test_two_levels_that_agree_share_ln_2():
    data = np.zeros((8, 8, 8), np.float32)
    data[4:] = 7
    volume = Volume(data, np.eye(4))
    pair = make_pair(volume, volume.like(-3 * data), np.ones(data.shape, bool), bins=8, samples=10_000)
    assert pair.mutual_information(np.eye(4)) == pytest.approx(np.log(2))
    # 8 columns to the side, the scan is out of sight.
    assert pair.mutual_information(translation(np.array([8.0, 0, 0]))) == 0


def test_points_out_of_sight_do_not_count():
    rng = np.random.default_rng(0)
    data = rng.integers(0, 2, (16, 16, 16)).astype(np.float32)
    whole = Volume(data, np.eye(4))
    part = Volume(data[:10], np.eye(4))
    pair = make_pair(whole, part, np.ones(data.shape, bool), bins=4, samples=10_000)
    assert pair.look_up(np.eye(4))[1].mean() == pytest.approx(10 / 16)
    assert pair.mutual_information(np.eye(4)) == pytest.approx(np.log(2), abs=0.01)


def test_a_turn_about_a_centre():
    # 90 degrees about z at (1, 0, 0): (2, 0, 0) goes to (1, 1, 0), then 5 mm up; the base adds 10 along x.
    matrix = rigid_matrix(np.array([0, 0, 90, 0, 0, 5.0]), np.array([1.0, 0, 0]), translation(np.array([10.0, 0, 0])))
    np.testing.assert_allclose(matrix @ [2, 0, 0, 1], [11, 1, 5, 1], atol=1e-12)


def test_no_more_samples_than_asked_for(blob):
    pair = make_pair(blob, blob, blob.data > 0, bins=8, samples=100)
    assert 50 < len(pair.points) <= 100
