"""Scores against the truth, by hand."""

import numpy as np
import pytest

from lesionlab.metrics import truth


def shift(x, y, z):
    matrix = np.eye(4)
    matrix[:3, 3] = x, y, z
    return matrix


def test_registration_error_of_a_shift():
    points = np.random.default_rng(0).uniform(-50, 50, (20, 3))
    assert truth.target_registration_error(shift(3, 4, 0), np.eye(4), points) == pytest.approx(5.0)
    affine = np.diag([3.0, 2.0, 5.0, 1.0])  # the same shift is (1, 2, 0) voxels
    assert truth.target_registration_error_voxels(shift(3, 4, 0), np.eye(4), points, affine) == pytest.approx(5**0.5)
    turned = affine[:, [1, 0, 2, 3]]  # voxel axes swapped: the length in voxels stays
    assert truth.target_registration_error_voxels(shift(3, 4, 0), np.eye(4), points, turned) == pytest.approx(5**0.5)


def test_registration_error_of_a_rotation_grows_with_the_distance():
    quarter = np.array([[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], float)
    points = np.array([[1.0, 0, 0], [3, 0, 0], [0, 0, 9]])
    # A quarter turn moves a point at radius r by r sqrt(2); the third lies on the axis.
    assert truth.target_registration_error(quarter, np.eye(4), points) == pytest.approx(4 * 2**0.5 / 3)


def test_voxel_centres():
    mask = np.zeros((2, 2, 2))
    mask[1, 0, 1] = 1
    affine = shift(10, 0, 0) @ np.diag([2.0, 1, 5, 1])
    assert truth.voxel_centres(mask, affine).tolist() == [[12.0, 0.0, 5.0]]


def test_brain_dice():
    assert truth.brain_dice(np.array([1, 1, 0, 0]), np.array([0, 255, 1, 0])) == 0.5


def test_bias_correlation_ignores_offset_scale_and_outside():
    field = np.random.default_rng(0).normal(size=(4, 4, 4))
    mask = np.zeros((4, 4, 4))
    mask[1:3] = 1
    other = np.where(mask, 2 * field + 7, 99)
    assert truth.bias_correlation(other, field, mask) == pytest.approx(1.0)
    assert truth.bias_correlation(-other, field, mask) == pytest.approx(-1.0)
    noise = np.random.default_rng(1).normal(size=(4, 4, 4))
    inside = mask > 0
    expected = np.corrcoef(noise[inside], field[inside])[0, 1]
    assert truth.bias_correlation(noise, field, mask) == pytest.approx(expected)


def test_correlation_with_a_constant_is_zero():
    assert truth.image_correlation(np.ones(5), np.arange(5.0), np.ones(5)) == 0.0
    with pytest.raises(ValueError, match="two voxels"):
        truth.image_correlation(np.ones(5), np.ones(5), np.zeros(5))


def test_spread_ratio_by_hand():
    # Before: means 80, 120 (std 20) over a range of 100: 0.2. After: 0.69, 0.71 (std 0.01) over 0.5: 0.02.
    assert truth.spread_ratio([80, 120], [0.69, 0.71], [90, 110], [0.5, 0.5]) == pytest.approx(0.1)


def test_white_matter_mean_takes_pure_voxels():
    image, white = np.array([1.0, 2.0, 30.0]), np.array([0.95, 1.0, 0.5])
    assert truth.white_matter_mean(image, white) == 1.5
    with pytest.raises(ValueError, match="white matter"):
        truth.white_matter_mean(image, white * 0)


def test_intensity_range_is_taken_inside_the_mask():
    image = np.concatenate([np.arange(101.0), [1e6]])
    mask = np.concatenate([np.ones(101), [0]])
    assert truth.intensity_range(image, mask) == pytest.approx(96.0)  # from 2 to 98


def test_tissue_dice_by_hand():
    mask = np.array([1, 1, 1, 1, 0])
    true = {"CSF": np.array([1, 0, 0, 0, 1.0]), "GM": np.array([0, 1, 1, 0, 0.0]), "WM": np.array([0, 0, 0, 1, 0.0])}
    ours = {
        "CSF": np.array([0.8, 0.1, 0.2, 0.1, 0]),
        "GM": np.array([0.1, 0.8, 0.3, 0.2, 0]),
        "WM": np.array([0.1, 0.1, 0.5, 0.7, 1]),
    }
    # The third voxel, truly GM, is taken for WM: GM 2 * 1 / (1 + 2), WM 2 * 1 / (2 + 1).
    assert truth.tissue_dice(ours, true, mask) == pytest.approx({"CSF": 1.0, "GM": 2 / 3, "WM": 2 / 3})


def test_rows():
    rows = truth.truth_rows("brain", "phantom-01", {"dice": 0.97})
    assert list(rows.columns) == ["stage", "subject", "measure", "value"]
    assert rows.iloc[0].tolist() == ["brain", "phantom-01", "dice", 0.97]
