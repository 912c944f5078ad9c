"""What a brain mask's shape tells of its faults: numbers for the QC page, no verdicts."""

from __future__ import annotations

import itertools

import numpy as np
from scipy import ndimage

from lesionlab.imaging.background import border
from lesionlab.imaging.volume import Volume

_THIN_MM = 6.0  # distance of the voxels looked at for symmetry
_TILTS_DEG = np.arange(-36.0, 37.0, 6.0)  # of the mid plane, about the front-back and the bottom-top axis
_HEAD_BINS = 128
_TOUCHING = np.ones((3, 3, 3), dtype=bool)  # voxels of one piece share a face, an edge or a corner


def solid(mask: np.ndarray) -> tuple[np.ndarray, dict[str, float]]:
    """The largest piece of a mask with its holes filled, and what that changed.

    Returns:
        bool ``(X, Y, Z)``; ``pieces`` before, ``removed_fraction`` and ``filled_fraction`` of the mask as it was.
    """
    pieces, count = ndimage.label(mask, _TOUCHING)
    if count == 0:
        return mask > 0, {"pieces": 0.0, "removed_fraction": 0.0, "filled_fraction": 0.0}
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    largest = pieces == sizes.argmax()
    whole = ndimage.binary_fill_holes(largest)
    before = int(sizes.sum())
    changes = {
        "pieces": float(count),
        "removed_fraction": 1 - float(sizes.max()) / before,
        "filled_fraction": float(np.count_nonzero(whole & ~largest)) / before,
    }
    return whole, changes


def mask_quality(mask: Volume, scan: Volume) -> dict[str, float]:
    """Measures of a mask that is not empty, and of the scan it was found in, on one grid.

    ``brain_ml``; ``brain_fraction`` of the field of view; ``brain_over_head``, volumes, the head being all that is
    brighter than air, filled; ``touches_border``, share of the mask on the field's border, first and last plane aside;
    ``cut_fraction``, the mask's area on a face of the field over its largest area parallel to it, the worst of six
    faces: near 0 for a whole brain, towards 1 for half a brain; ``empty_fraction``, share of the mask where the scan is
    exactly 0, so that nothing was seen there; ``symmetry``, Dice of the mask and its mirror image about the
    best plane through its centre.
    """
    inside = mask.data > 0
    voxels = int(inside.sum())
    return {
        "brain_ml": voxels * mask.voxel_ml,
        "brain_fraction": voxels / inside.size,
        "brain_over_head": voxels / max(int((_head(scan) | inside).sum()), 1),
        "touches_border": float(border(inside).sum() / voxels),
        "cut_fraction": _cut_fraction(inside),
        "empty_fraction": float((scan.data[inside] == 0).mean()),
        "symmetry": _symmetry(mask),
    }


def _cut_fraction(inside: np.ndarray) -> float:
    worst = 0.0
    for axis in range(3):
        areas = inside.sum(axis=tuple(other for other in range(3) if other != axis))
        worst = max(worst, float(max(areas[0], areas[-1]) / areas.max()))
    return worst


def _head(scan: Volume) -> np.ndarray:
    """All that is brighter than air, its holes filled plane by plane (skull and sinuses are as dark as air)."""
    from skimage.filters import threshold_otsu

    data = scan.data.astype(np.float32)
    top = np.percentile(data, 99)  # fat and vessels would draw the threshold up
    bright = data > threshold_otsu(np.minimum(data, top).ravel(), nbins=_HEAD_BINS) / 2
    across = int(np.argmax(scan.spacing))
    planes = np.moveaxis(bright, across, 0)
    return np.moveaxis(np.stack([ndimage.binary_fill_holes(plane) for plane in planes]), 0, across)


def _symmetry(mask: Volume) -> float:
    thin = tuple(slice(None, None, max(1, round(_THIN_MM / size))) for size in mask.spacing)
    looked_at = np.zeros(mask.shape, dtype=bool)
    looked_at[thin] = mask.data[thin] > 0
    points = np.argwhere(looked_at) @ mask.affine[:3, :3].T + mask.affine[:3, 3]
    if not len(points):
        return 0.0
    points = points - points.mean(axis=0)
    to_voxel = np.linalg.inv(mask.affine[:3, :3])
    centre = np.argwhere(looked_at).mean(axis=0)
    return max(
        float(_is_brain(mask.data, (points - 2 * np.outer(points @ normal, normal)) @ to_voxel.T + centre).mean())
        for normal in _mid_plane_normals()
    )


def _mid_plane_normals() -> list[np.ndarray]:
    """Unit vectors near the patient's left-right axis."""
    slopes = np.tan(np.radians(_TILTS_DEG))
    normals = [np.array([1.0, y, z]) for y, z in itertools.product(slopes, slopes)]
    return [normal / np.linalg.norm(normal) for normal in normals]


def _is_brain(data: np.ndarray, places: np.ndarray) -> np.ndarray:
    index = np.rint(places).astype(int)
    there = ((index >= 0) & (index < data.shape)).all(axis=1)
    found = np.zeros(len(index), dtype=bool)
    found[there] = data[tuple(index[there].T)] > 0
    return found
