from __future__ import annotations

import tempfile

import ants
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lesionlab.errors import InputError
from lesionlab.imaging.ants_bridge import (
    matrix_from_ants,
    reproducible_environment,
    scratch,
    to_ants,
    write_matrix,
)
from lesionlab.imaging.volume import Volume

ANGLE = st.floats(-170, 170)


def oblique(angles, spacing, flips, shift):
    """An affine from three turns, voxel sizes, flips and an origin, written out by hand."""
    turn = np.eye(3)
    for (i, j), angle in zip([(1, 2), (2, 0), (0, 1)], np.radians(angles), strict=True):
        step = np.eye(3)
        step[i, i] = step[j, j] = np.cos(angle)
        step[i, j], step[j, i] = -np.sin(angle), np.sin(angle)
        turn = turn @ step
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(np.where(flips, -1, 1) * spacing)
    affine[:3, 3] = shift
    return affine


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(ANGLE, ANGLE, ANGLE),
    st.tuples(*[st.floats(0.3, 7)] * 3),
    st.tuples(*[st.booleans()] * 3),
    st.tuples(*[st.floats(-200, 200)] * 3),
)
def test_voxels_and_geometry_arrive(angles, spacing, flips, shift):
    affine = oblique(angles, spacing, flips, shift)
    data = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    image = to_ants(Volume(data, affine))
    np.testing.assert_array_equal(image.numpy(), data)
    # ITK keeps direction, spacing and origin apart, in LPS: the first two axes with their signs changed.
    lps = np.column_stack([np.asarray(image.direction) * image.spacing, image.origin])
    np.testing.assert_allclose(lps * np.array([[-1], [-1], [1]]), affine[:3], atol=1e-5)


def test_a_voxel_lies_where_itk_says_with_two_signs_changed():
    affine = oblique((10, -20, 30), (0.9, 1.1, 5), (True, False, True), (12, -34, 56))
    image = to_ants(Volume(np.zeros((6, 7, 8), np.float32), affine))
    lps = ants.transform_index_to_physical_point(image, [2, 3, 4])
    ras = affine @ [2, 3, 4, 1]
    np.testing.assert_allclose(np.array(lps) * (-1, -1, 1), ras[:3], atol=1e-4)


def test_a_sheared_grid_is_refused():
    affine = np.eye(4)
    affine[0, 1] = 0.2
    with pytest.raises(InputError, match="right angles"):
        to_ants(Volume(np.zeros((2, 2, 2), np.float32), affine))


def test_a_matrix_survives_the_file_and_moves_points_as_ants_does(tmp_path):
    matrix = oblique((5, -3, 8), (1, 1, 1), (False, False, False), (4, -7, 2))
    path = write_matrix(matrix, tmp_path / "a.mat")
    np.testing.assert_allclose(matrix_from_ants(path), matrix, atol=1e-6)
    point = np.array([10.0, 20.0, 30.0])
    lps = ants.apply_ants_transform_to_point(ants.read_transform(path), point * (-1, -1, 1))
    np.testing.assert_allclose(np.array(lps) * (-1, -1, 1), (matrix @ [*point, 1])[:3], atol=1e-4)


def test_scratch_takes_what_libraries_write_and_removes_it():
    before = tempfile.gettempdir()
    with scratch() as folder:
        with tempfile.NamedTemporaryFile(delete=False) as left:
            pass
        assert left.name.startswith(str(folder))
    assert not folder.exists()
    assert tempfile.gettempdir() == before


def test_the_environment_has_one_thread_and_a_seed():
    environment = reproducible_environment(11)
    assert environment["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] == "1"
    assert environment["ANTS_RANDOM_SEED"] == "11"
    with pytest.raises(ValueError, match="seed"):
        reproducible_environment(0)
