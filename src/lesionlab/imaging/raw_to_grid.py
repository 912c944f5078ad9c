"""A raw scan on the slices' grid, by a single interpolation: every further one would blur it a little more.

Co-registration, brain mask, bias field and intensity map are found on the reference scan's grid. None of them needs the
moved voxels kept: the transform is composed with the grid's, the field is smooth, and the map works voxel by voxel.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from lesionlab.imaging.grid import Grid, GridOptions
from lesionlab.imaging.intensity.bias import apply_field
from lesionlab.imaging.intensity.standardize import IntensityMap
from lesionlab.imaging.resample import resample, resample_like
from lesionlab.imaging.volume import Volume

_SHELL = 2  # voxels around the brain that tell whether a scan is stripped
_MOSTLY = 0.5  # of them have the background's value, then


def image_on_grid(
    scan: Volume,
    to_scan: np.ndarray,
    log_field: Volume,
    intensities: IntensityMap,
    brain: Volume,
    grid: Grid,
    brain_on_grid: Volume,
    options: GridOptions,
    to_reference: np.ndarray | None = None,
) -> Volume:
    """Bring a raw scan to the grid, divide its bias field out, standardize it and cut out the brain.

    Args:
        scan: as the scanner gave it, on its own grid.
        to_scan: ``(4, 4)`` RAS mm of the reference scan -> RAS mm of this scan.
        log_field: natural logarithm of its bias field, on the reference scan's grid.
        intensities: its map to the standard scale.
        brain: the brain mask on the reference scan's grid.
        grid: where to.
        brain_on_grid: the brain mask there.
        options: the interpolation.
        to_reference: ``(4, 4)`` RAS mm of the grid -> RAS mm of the reference scan; identity by default.

    Returns:
        float32 on the grid; outside the brain the rule's background.
    """
    way = np.eye(4) if to_reference is None else to_reference
    there = _whole(scan, brain, to_scan)
    image = resample(
        there,
        grid.shape,
        grid.affine,
        matrix=to_scan @ way,
        interpolation=options.interpolation,
        fill=float(there.data.min()),
    )
    field = resample(log_field, grid.shape, grid.affine, matrix=way)
    return intensities.apply_to(apply_field(image, field), brain_on_grid)


def _whole(scan: Volume, brain: Volume, to_scan: np.ndarray) -> Volume:
    """The scan; where it is stripped, with the brain's outermost values carried outwards.

    Otherwise the brain's rim would be mixed with the background.
    """
    inside = resample_like(brain, scan, matrix=np.linalg.inv(to_scan), interpolation="nearest").data > 0
    shell = ndimage.binary_dilation(inside, iterations=_SHELL) & ~inside
    values, counts = np.unique(scan.data[shell], return_counts=True)
    if counts.size == 0 or counts.max() < _MOSTLY * counts.sum():
        return scan
    inside &= scan.data != values[counts.argmax()]
    if not inside.any():
        return scan
    nearest = ndimage.distance_transform_edt(
        ~inside, sampling=scan.spacing, return_distances=False, return_indices=True
    )
    return scan.like(scan.data[tuple(nearest)])
