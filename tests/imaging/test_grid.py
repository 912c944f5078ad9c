from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from lesionlab.errors import InputError
from lesionlab.imaging.grid import GridOptions, labels_to_grid, make_grid, to_ras
from lesionlab.imaging.volume import Volume


@pytest.fixture
def brain(upright, turn):
    """A box of 40 x 60 x 24 mm around (6, -8, 2), in a scan stored L, P, S with thick planes and a slight tilt."""
    shape = (60, 70, 12)
    affine = turn("z", 5) @ upright((1.5, 1.5, 4.0), shape) @ np.diag([-1, -1, 1, 1])
    affine[:3, 3] = (affine @ [0, 0, 0, 1])[:3] - affine[:3, :3] @ [shape[0] - 1, shape[1] - 1, 0]
    points = np.moveaxis(np.indices(shape, dtype=float), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    points = points @ turn("z", 5)[:3, :3]  # into the tilted frame
    inside = (np.abs(points - (6, -8, 2)) < (20, 30, 12)).all(axis=-1)
    return Volume(inside.astype(np.uint8), affine)


def test_axes_point_right_front_and_up(brain):
    grid = make_grid(brain, GridOptions(in_plane_mm=2.0, size=(32, 40)))
    assert nib.aff2axcodes(brain.affine) == ("L", "P", "S")
    assert nib.aff2axcodes(grid.affine) == ("R", "A", "S")
    assert grid.shape == (32, 40, 12)
    np.testing.assert_allclose(np.linalg.norm(grid.affine[:3, :3], axis=0), (2, 2, 4))


def test_the_brain_lies_in_the_middle_and_its_planes_stay(brain):
    options = GridOptions(in_plane_mm=2.0, size=(32, 40))
    grid = make_grid(brain, options)
    mask = labels_to_grid(brain, grid, options)
    middle = np.argwhere(mask.data).mean(axis=0)
    np.testing.assert_allclose(middle[:2], (15.5, 19.5), atol=0.6)
    assert mask.data.sum() * mask.voxel_ml == pytest.approx(brain.data.sum() * brain.voxel_ml, rel=0.1)
    # Planes as scanned: plane k of the grid holds plane k of the scan, which is stored upwards.
    np.testing.assert_array_equal(mask.data.any(axis=(0, 1)), brain.data.any(axis=(0, 1)))
    assert grid.qc["cropped_fraction"] == 0


def test_planes_at_another_distance_cover_the_same_height(brain):
    grid = make_grid(brain, GridOptions(in_plane_mm=2.0, size=(32, 40), plane_mm=3.0))
    assert grid.shape[2] == 16  # 12 planes of 4 mm are 48 mm, 16 planes of 3 mm
    bottom, top = (grid.affine @ [0, 0, k, 1] for k in (-0.5, 15.5))
    low, high = (to_ras(brain).affine @ [0, 0, k, 1] for k in (-0.5, 11.5))
    np.testing.assert_allclose((bottom[2], top[2]), (low[2], high[2]), atol=1e-6)


def test_reordering_moves_no_voxel_in_the_world(brain):
    upright = to_ras(brain)
    one, other = (v.affine @ [*np.argwhere(v.data).mean(axis=0), 1] for v in (brain, upright))
    np.testing.assert_allclose(one, other, atol=1e-9)


def test_a_brain_too_large_is_told_with_the_size_it_needs(brain):
    with pytest.raises(InputError, match=r"does not fit.*at least (\d+) x (\d+)") as error:
        make_grid(brain, GridOptions(in_plane_mm=2.0, size=(16, 40)))
    needed = [int(word) for word in str(error.value).split("at least ")[1].split(",")[0].split(" x ")]
    assert make_grid(brain, GridOptions(in_plane_mm=2.0, size=tuple(needed))).qc["cropped_fraction"] == 0
    with pytest.raises(InputError, match="empty"):
        make_grid(brain.like(np.zeros_like(brain.data)), GridOptions())
