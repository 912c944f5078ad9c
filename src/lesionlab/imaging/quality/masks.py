"""The brain mask's shape, and whether its surface lies where the scan has one."""

from __future__ import annotations

import numpy as np
from scipy import ndimage, spatial
from skimage import measure

from lesionlab.imaging.grid import to_ras
from lesionlab.imaging.quality.lattice import Lattice
from lesionlab.imaging.volume import Volume

SHELLS_MM = (-6.0, -3.0, 0.0, 3.0, 6.0, 9.0)  # distances from the mask's surface, positive inside
DEEP_MM = 15.0  # from here on a voxel is deep in the brain
FEWEST = 6  # voxels of a sector's shell that have a mean
LOWER, TOP = 0.35, 0.85  # parts of the brain's height: below the first is skull base, above the second the top
AROUND, LEVELS = 8, 2
SECTORS = AROUND * LEVELS + 1
_ROUNDING = 1e-9


def mask_shape(mask: Volume, lattice: Lattice) -> dict[str, float]:
    """Measures of a mask's form.

    Args:
        mask: anything above 0, on its own grid.
        lattice: around it.

    Returns:
        ``sphericity`` (surface of the ball of its volume over its own; 1 for a ball, less the more ragged),
        ``solidity`` and ``bite_mm`` (see :func:`convexity`), ``stray_share`` (of the mask outside its largest piece;
        voxels of a piece share faces), ``holes_share`` (enclosed voxels over the mask's), ``cut_top`` and
        ``cut_bottom`` (area in the outermost plane over the largest plane's: what the field of view cuts off).
    """
    inside = mask.data > 0
    labels, _ = ndimage.label(inside)
    largest = np.bincount(labels[inside]).max()
    holes = np.count_nonzero(ndimage.binary_fill_holes(inside)) - np.count_nonzero(inside)
    areas = np.count_nonzero(to_ras(mask).data > 0, axis=(0, 1))
    return {
        "sphericity": sphericity(lattice),
        **convexity(lattice),
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


def convexity(lattice: Lattice) -> dict[str, float]:
    """What is missing between the brain and its convex hull.

    Returns:
        ``solidity``, the brain's volume over the hull's, and ``bite_mm``, the radius of the largest ball that fits
        between them above the skull base: a part that is missing from the mask, not the many narrow folds.
    """
    places = np.argwhere(lattice.brain)
    hull = spatial.ConvexHull(places)  # type: ignore[attr-defined]
    low, high = places.min(axis=0), places.max(axis=0)
    box = tuple(slice(start, stop + 1) for start, stop in zip(low, high, strict=True))
    gap = np.argwhere(~lattice.brain[box])
    gap = gap[gap[:, 2] > LOWER * (high[2] - low[2])]
    for *normal, offset in hull.equations:
        gap = gap[(gap + low) @ normal + offset <= _ROUNDING]
    missing = np.zeros(np.array(lattice.brain[box].shape) + 2, dtype=bool)
    missing[tuple(gap.T + 1)] = True
    bite = ndimage.distance_transform_edt(missing, sampling=lattice.step).max()
    return {"solidity": float(len(places) / hull.volume), "bite_mm": float(bite)}


def cut_sides(mask: Volume) -> float:
    """The area at the field's left, right, front or back over the largest parallel one, the worst of them.

    0 where the brain lies within the field; more where it runs on beyond it.
    """
    inside = to_ras(mask).data > 0
    found = [0.0]
    for axis in (0, 1):
        areas = np.count_nonzero(inside, axis=(1 - axis, 2))
        found.append(float(max(areas[0], areas[-1]) / max(areas.max(), 1)))
    return max(found)


def rim_profile(image: np.ndarray, mask: Volume, lattice: Lattice) -> list[list[float]]:
    """The scan's brightness at each distance from the mask's surface, over the deep brain's, sector by sector.

    Cortex, water, bone and scalp differ on any sequence, so the profile of a mask that reaches too far or not far
    enough, everywhere or on one side, is unlike that of other studies. The lower part of the brain, which has no clear
    rim, is not looked at.

    Args:
        image: an unstripped scan on the lattice.
        mask: the brain mask on its own grid.
        lattice: around it.

    Returns:
        17 sectors (8 around at each of 2 heights, and the top) of 5 brightnesses, from outside inwards; NaN where there
        is too little to see.
    """
    inside = mask.data > 0
    outside = ndimage.distance_transform_edt(~inside, sampling=mask.spacing)
    signed = ndimage.distance_transform_edt(inside, sampling=mask.spacing) - outside
    signed -= np.sign(signed) * min(mask.spacing) / 2  # from the voxels' faces, not their centres
    depth = lattice.sampled(mask.like(signed.astype(np.float32)), fill=-lattice.brain.size)
    shell = np.digitize(depth, SHELLS_MM) - 1
    sector = _sectors(lattice)
    bins = len(SHELLS_MM) - 1
    used = (sector >= 0) & (shell >= 0) & (shell < bins)
    index = sector[used] * bins + shell[used]
    counts = np.bincount(index, minlength=SECTORS * bins)
    sums = np.bincount(index, image[used], minlength=SECTORS * bins)
    deep = image[depth > DEEP_MM]
    level = float(np.median(deep)) if deep.size else float("nan")
    found = np.where(counts >= FEWEST, sums / np.maximum(counts, 1), np.nan) / (level or float("nan"))
    return found.reshape(SECTORS, bins).tolist()  # type: ignore[no-any-return]


def _sectors(lattice: Lattice) -> np.ndarray:
    """The sector of each voxel, -1 in the lower part of the brain's height."""
    points = lattice.points()
    inside = points[:, lattice.brain]
    low, high = inside.min(axis=1)[:, None, None, None], inside.max(axis=1)[:, None, None, None]
    place = (points - (low + high) / 2) / np.maximum(high - low, lattice.step)
    around = ((np.arctan2(place[1], place[0]) + np.pi) / (2 * np.pi) * AROUND).astype(int) % AROUND
    height = (points[2] - low[2]) / np.maximum(high[2] - low[2], lattice.step)
    level = np.clip(((height - LOWER) / (TOP - LOWER) * LEVELS).astype(int), 0, LEVELS)
    sector = np.where(level == LEVELS, AROUND * LEVELS, around + AROUND * level)
    return np.where(height > LOWER, sector, -1)
