"""The brain mask's shape, and whether its surface lies where the scan has one."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage import measure

from lesionlab.imaging.grid import to_ras
from lesionlab.imaging.quality.lattice import Lattice
from lesionlab.imaging.volume import Volume

RIM_MM = 5.0  # how far below the mask's surface its rim reaches
DEEP_MM = 12.0  # from here on a voxel is deep in the brain
UPPER = 0.35  # part of the brain's height, from below, that is not looked at: skull base and neck have no clear rim


def mask_shape(mask: Volume, lattice: Lattice) -> dict[str, float]:
    """Measures of a mask's form.

    Args:
        mask: anything above 0, on its own grid.
        lattice: around it.

    Returns:
        ``sphericity`` (surface of the ball of its volume over its own; 1 for a ball, less the more ragged),
        ``pieces`` (connected by faces), ``stray_share`` (of the mask outside its largest piece), ``holes_share``
        (enclosed voxels over the mask's), ``cut_top`` and ``cut_bottom`` (area in the outermost plane over the largest
        plane's: what the field of view cuts off).
    """
    inside = mask.data > 0
    labels, pieces = ndimage.label(inside)
    largest = np.bincount(labels[inside]).max()
    holes = np.count_nonzero(ndimage.binary_fill_holes(inside)) - np.count_nonzero(inside)
    areas = np.count_nonzero(to_ras(mask).data > 0, axis=(0, 1))
    return {
        "sphericity": sphericity(lattice),
        "pieces": float(pieces),
        "stray_share": float(1 - largest / np.count_nonzero(inside)),
        "holes_share": float(holes / np.count_nonzero(inside)),
        "cut_top": float(areas[-1] / areas.max()),
        "cut_bottom": float(areas[0] / areas.max()),
    }


def sphericity(lattice: Lattice) -> float:
    """Surface of the ball of the same volume over the brain's surface (marching cubes on the smoothed mask)."""
    smooth = ndimage.gaussian_filter(lattice.brain.astype(np.float32), 1.0)
    vertices, faces, _, _ = measure.marching_cubes(smooth, 0.5, spacing=(lattice.step,) * 3)
    volume = np.count_nonzero(lattice.brain) * lattice.step**3
    return float(np.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / measure.mesh_surface_area(vertices, faces))


def rim_levels(image: np.ndarray, lattice: Lattice) -> dict[str, float]:
    """The scan's brightness just within the mask's surface, over the deep brain's, at its darkest and brightest side.

    On any sequence cortex, water, bone and scalp differ, so a mask that reaches too far or not far enough, everywhere
    or on one side, shows as a level unlike that of other studies.

    Args:
        image: an unstripped scan on the lattice.
        lattice: the brain mask.

    Returns:
        ``rim_low`` and ``rim_high``: the least and the largest mean of left, right, front and back; without the lower
        part of the brain, which has no clear rim. Empty for a brain too small for it.
    """
    depth, points = lattice.depth(), lattice.points()
    inside = points[:, lattice.brain]
    low, high = inside.min(axis=1), inside.max(axis=1)
    above = points[2] > low[2] + UPPER * (high[2] - low[2])
    away = points[:2] - inside.mean(axis=1)[:2, None, None, None]
    rim, deep = above & (depth > 0) & (depth <= RIM_MM), image[depth > DEEP_MM]
    sectors = [
        image[rim & (side * away[axis] >= np.abs(away[1 - axis]))].mean() for axis in (0, 1) for side in (-1.0, 1.0)
    ]
    if not deep.size or not np.median(deep) or not np.isfinite(sectors).all():
        return {}
    levels = np.array(sectors) / np.median(deep)
    return {"rim_low": float(levels.min()), "rim_high": float(levels.max())}
