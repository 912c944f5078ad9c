"""From a raw scan to the grid: one interpolation, whatever the number of steps."""

from __future__ import annotations

import numpy as np
import pytest

from lesionlab.imaging.grid import Grid, GridOptions
from lesionlab.imaging.intensity.standardize import StandardizeOptions, fit_mapping
from lesionlab.imaging.raw_to_grid import image_on_grid
from lesionlab.imaging.resample import resample, resample_like
from lesionlab.imaging.volume import Volume

SHAPE = (20, 22, 12)
SPACING = (2.0, 2.0, 4.0)
OPTIONS = GridOptions(in_plane_mm=2.0, size=(20, 22), interpolation="linear")


def at(*origin: float) -> np.ndarray:
    """The affine of an upright grid with its first voxel there."""
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = origin
    return affine


def like(affine: np.ndarray, data: np.ndarray | float = 0.0) -> Volume:
    return Volume(np.full(SHAPE, data, np.float32) if np.isscalar(data) else data, affine)


@pytest.fixture
def scan() -> Volume:
    """Noise: nothing suffers more from being interpolated."""
    return Volume(np.random.default_rng(3).uniform(1, 2, SHAPE).astype(np.float32), at(0, 0, 0))


def moved(scan: Volume, reference: np.ndarray, grid: np.ndarray, to_scan=None, field=0.0, brain=1, way=None) -> Volume:
    """The scan on the grid, by way of a reference with that affine; a brain mask of 1 fills everything."""
    mask = Volume(np.full(SHAPE, brain, np.uint8) if np.isscalar(brain) else brain, reference)
    as_it_is = fit_mapping(
        like(reference, np.arange(np.prod(SHAPE)).reshape(SHAPE)), mask, StandardizeOptions(rule="none")
    )
    there = Grid(SHAPE, grid, {})
    on_grid = resample(mask, SHAPE, grid, matrix=way, interpolation="nearest")
    matrix = np.eye(4) if to_scan is None else to_scan
    return image_on_grid(scan, matrix, like(reference, field), as_it_is, mask, there, on_grid, OPTIONS, way)


def test_a_scan_whose_voxels_are_the_grids_arrives_as_it_is(scan):
    """The reference scan in between lies half a voxel off. By its grid, every voxel would be a mean of eight."""
    reference, grid = at(1, 1, 2), at(0, 0, 0)
    inner = (slice(2, -2),) * 3
    np.testing.assert_allclose(moved(scan, reference, grid).data[inner], scan.data[inner], atol=1e-5)
    twice = resample_like(resample_like(scan, like(reference)), like(grid)).data[inner]
    assert np.std(twice) < 0.6 * np.std(scan.data[inner])  # what two interpolations would have left


def test_transform_and_grid_are_composed(scan):
    """The scan lies 6 mm (3 voxels) to the right of the reference, the grid 4 mm (1 voxel) above it."""
    right = np.eye(4)
    right[0, 3] = 6.0
    result = moved(scan, at(0, 0, 0), at(0, 0, 4), right)
    np.testing.assert_allclose(result.data[:17, :, :11], scan.data[3:, :, 1:], atol=1e-5)


def test_a_grid_in_another_space_is_reached_by_way_of_the_reference(scan):
    back = np.eye(4)
    back[1, 3] = -4.0  # what the grid calls y lies 4 mm (2 voxels) behind in the reference
    result = moved(scan, at(0, 0, 0), at(0, 0, 0), way=back)
    np.testing.assert_allclose(result.data[:, 2:], scan.data[:, :-2], atol=1e-5)


def test_the_bias_field_is_divided_out(scan):
    ramp = np.linspace(-0.2, 0.2, SHAPE[0], dtype=np.float32)[:, None, None] * np.ones(SHAPE, np.float32)
    shaded = scan.like(scan.data * np.exp(ramp))
    np.testing.assert_allclose(moved(shaded, at(0, 0, 0), at(0, 0, 0), field=ramp).data, scan.data, rtol=1e-5)


def test_the_rim_of_a_stripped_scan_is_not_mixed_with_its_background():
    brain = np.zeros(SHAPE, np.uint8)
    brain[5:15, 5:17, 2:10] = 1
    stripped = Volume(10.0 * brain.astype(np.float32), at(0, 0, 0))
    result = moved(stripped, at(0, 0, 0), at(1, 1, 2), brain=brain).data
    inside = resample(Volume(brain, at(0, 0, 0)), SHAPE, at(1, 1, 2), interpolation="nearest").data > 0
    np.testing.assert_allclose(result[inside], 10, atol=1e-4)
    assert (result[~inside] == 0).all()
    plain = resample(stripped, SHAPE, at(1, 1, 2)).data
    assert plain[inside].min() < 6  # unguarded


def test_what_lies_around_the_brain_of_a_whole_head_is_used():
    """A head of 10 with a brain of 20: at the brain's rim the mean is due, not the brain's value carried outwards."""
    brain = np.zeros(SHAPE, np.uint8)
    brain[5:15, 5:17, 2:10] = 1
    noise = np.random.default_rng(0).uniform(0, 1, SHAPE).astype(np.float32)
    head = Volume(10 + 10 * brain.astype(np.float32) + noise, at(0, 0, 0))
    result = moved(head, at(0, 0, 0), at(0.8, 0, 0), brain=brain).data
    due = 0.6 * head.data[14, 10, 5] + 0.4 * head.data[15, 10, 5]  # 0.8 mm of the 2 mm between them
    assert result[14, 10, 5] == pytest.approx(due, abs=1e-4)
