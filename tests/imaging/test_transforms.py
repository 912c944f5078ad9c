from __future__ import annotations

import io

import numpy as np
import pytest
from scipy.io import savemat

from lesionlab.errors import InputError
from lesionlab.imaging.ants_bridge import load_ants, matrix_from_ants, to_ants
from lesionlab.imaging.resample import resample_like
from lesionlab.imaging.transforms import itk_transform_bytes, matrix_from_itk_bytes, rotation_degrees, translation


@pytest.fixture
def matrix(turn):
    stretch = np.diag([1.05, 0.97, 1.0, 1.0])
    return turn("x", 14, (3, -5, 2)) @ turn("z", -9) @ stretch


@pytest.fixture
def pair(make_head, upright):
    # Another grid with flipped axes, so that RAS and LPS cannot be taken for each other.
    affine = upright((3.7, 4.1, 5.6), (40, 44, 28)) @ np.diag([-1, -1, 1, 1])
    affine[:2, 3] *= -1
    return make_head(upright((4, 4, 6), (40, 46, 26)), (40, 46, 26)), make_head(affine, (40, 44, 28))


@pytest.mark.parametrize("way", ["there", "back"])
def test_ants_moves_an_image_as_our_own_resampling_does(pair, matrix, way, tmp_path):
    fixed, moving = pair if way == "there" else pair[::-1]
    matrix = matrix if way == "there" else np.linalg.inv(matrix)
    file = tmp_path / "moving_to_fixed.mat"
    file.write_bytes(itk_transform_bytes(matrix))
    theirs = load_ants().apply_transforms(to_ants(fixed), to_ants(moving), [str(file)], interpolator="linear").numpy()
    ours = resample_like(moving, fixed, matrix=matrix, antialias=False).data
    # At the border of the field of view the two differ by half a voxel in what they still call inside.
    whole = moving.like(np.ones(moving.shape, np.float32))
    inside = load_ants().apply_transforms(to_ants(fixed), to_ants(whole), [str(file)]).numpy() > 0.999
    assert inside.mean() > 0.3
    np.testing.assert_allclose(ours[inside], theirs[inside], atol=0.02)  # of 650
    untouched = resample_like(moving, fixed, antialias=False).data
    assert np.abs(untouched - theirs)[inside].max() > 50


def test_ants_inverts_the_file_of_a_matrix_as_we_invert_the_matrix(pair, matrix, tmp_path):
    fixed, moving = pair
    file = tmp_path / "a.mat"
    file.write_bytes(itk_transform_bytes(matrix))
    back = load_ants().apply_transforms(
        to_ants(moving), to_ants(fixed), [str(file)], whichtoinvert=[True], interpolator="linear"
    )
    ours = resample_like(fixed, moving, matrix=np.linalg.inv(matrix), antialias=False).data
    middle = (slice(14, 26), slice(14, 30), slice(8, 20))
    np.testing.assert_allclose(ours[middle], back.numpy()[middle], atol=0.05)


def test_the_file_reads_back_the_same_numbers(matrix, tmp_path):
    content = itk_transform_bytes(matrix)
    np.testing.assert_allclose(matrix_from_itk_bytes(content), matrix, rtol=0, atol=1e-13)
    (tmp_path / "a.mat").write_bytes(content)
    np.testing.assert_allclose(matrix_from_ants(tmp_path / "a.mat"), matrix, rtol=0, atol=1e-13)
    assert content == itk_transform_bytes(matrix.copy())


def test_the_centre_of_an_itk_transform_counts(tmp_path):
    # y = A (x - c) + c + t with A = diag(2, 1, 1), c = (10, 0, 0), t = (1, 0, 0) in LPS: y = 2 x - 9. In RAS, where the
    # first axis has the other sign: y = 2 x + 9.
    ants = load_ants()
    theirs = ants.create_ants_transform(
        transform_type="AffineTransform",
        parameters=[2, 0, 0, 0, 1, 0, 0, 0, 1, 1, 0, 0],
        fixed_parameters=[10, 0, 0],
        precision="double",
    )
    ants.write_transform(theirs, str(tmp_path / "a.mat"))
    expected = np.diag([2.0, 1, 1, 1])
    expected[0, 3] = 9
    np.testing.assert_allclose(matrix_from_itk_bytes((tmp_path / "a.mat").read_bytes()), expected)


def mat4(**variables):
    content = io.BytesIO()
    savemat(content, variables, format="4")
    return content.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\x00",
        b"#Insight Transform File V1.0\n",
        mat4(AffineTransform_double_3_3=np.zeros((6, 1)), fixed=np.zeros((3, 1))),
        mat4(Euler3DTransform_double_3_3=np.zeros((12, 1)), fixed=np.zeros((3, 1))),
    ],
)
def test_a_file_that_is_no_linear_transform_is_refused(content):
    with pytest.raises(InputError, match="no linear transform"):
        matrix_from_itk_bytes(content)


def test_rotation_angle(turn):
    assert rotation_degrees(turn("x", 12.5, (9, 9, 9))) == pytest.approx(12.5)
    assert rotation_degrees(translation(np.array([1, 2, 3.0]))) == pytest.approx(0, abs=1e-6)
