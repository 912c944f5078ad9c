from __future__ import annotations

import numpy as np
import pytest

from lesionlab.imaging.resample import resample, resample_like
from lesionlab.imaging.volume import Volume


def ramp(shape=(8, 8, 8), affine=None):
    """A volume whose value is the world's x + 2 y + 3 z at each voxel: linear interpolation is exact on it."""
    affine = np.eye(4) if affine is None else affine
    points = np.moveaxis(np.indices(shape, dtype=float), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    return Volume((points @ [1.0, 2.0, 3.0]).astype(np.float32), affine)


@pytest.mark.parametrize("interpolation", ["linear", "nearest", "labels", "cubic"])
def test_the_same_grid_changes_nothing(interpolation, blob):
    volume = blob if interpolation in ("linear", "cubic") else blob.like((blob.data > 0.6).astype(np.uint8))
    again = resample_like(volume, volume, interpolation=interpolation)
    np.testing.assert_allclose(again.data, volume.data, atol=1e-4)
    assert again.data.dtype == volume.data.dtype


def test_linear_is_exact_on_a_ramp_and_the_matrix_points_into_the_moving_volume():
    affine = np.diag([0.5, 0.5, 1.0, 1.0])
    affine[:3, 3] = (2, 2, 2)
    matrix = np.eye(4)
    matrix[:3, 3] = (0.25, -0.5, 1.0)  # a point of the grid is seen at point + shift: 0.25 - 1 + 3 = 2.25 higher
    moved = resample(ramp(), (4, 4, 3), affine, matrix=matrix)
    np.testing.assert_allclose(moved.data, ramp((4, 4, 3), affine).data + 2.25, atol=1e-4)


def test_outside_is_filled_from_half_a_voxel_on():
    volume = Volume(np.full((3, 3, 3), 5, np.float32), np.eye(4))
    affine = np.eye(4)
    affine[0, 3] = -1.4  # columns at -1.4, -0.4, 0.6, 1.6, 2.6: the first and the last lie beyond -0.5 and 2.5
    line = resample(volume, (5, 3, 3), affine, fill=-1).data[:, 1, 1]
    np.testing.assert_allclose(line, [-1, 5, 5, 5, -1])


def test_labels_take_the_largest_share_not_the_mean():
    labels = np.zeros((4, 1, 1), np.uint8)
    labels[:, 0, 0] = (2, 2, 4, 4)
    affine = np.diag([0.25, 1, 1, 1])
    affine[0, 3] = 1.0  # 1, 1.25, 1.75 .. : the border between 2 and 4 lies at 1.5; 3 never appears
    moved = resample(Volume(labels, np.eye(4)), (5, 1, 1), affine, interpolation="labels").data[:, 0, 0]
    assert moved[:2].tolist() == [2, 2] and moved[3:].tolist() == [4, 4]
    assert 3 not in moved


def test_thinning_out_averages_instead_of_skipping():
    stripes = np.zeros((32, 4, 4), np.float32)
    stripes[::2] = 1
    coarse = resample(Volume(stripes, np.eye(4)), (8, 4, 4), np.diag([4.0, 1, 1, 1]))
    # Without smoothing every sample would meet a stripe of 1; the mean of the stripes is one half.
    np.testing.assert_allclose(coarse.data[1:-1], 0.5, atol=0.02)
