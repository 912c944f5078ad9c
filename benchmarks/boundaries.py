"""Alignment measured at tissue boundaries: how far from one scan's boundaries another scan's edges lie.

It shares nothing with mutual information, so it can judge a registration that was made by it.
"""

from __future__ import annotations

import numpy as np

from lesionlab.imaging.registration.head import flattened
from lesionlab.imaging.volume import Volume

TISSUES = 3
REACH = 4  # voxels

_SHADING_MM = 20.0  # sigma of the local mean: wider than any tissue
_FLOOR = 0.05  # of the peak: a Gaussian has no value of 0 or less
_ROUNDS = 20
_FEW = 50  # boundary points below which an axis says nothing


def tissue_classes(volume: Volume, brain: Volume) -> np.ndarray:
    """Three intensity classes of the brain by k-means, the darkest first: ``(X, Y, Z)`` int8, -1 outside.

    Args:
        volume: a scan, raw or corrected; its shading is taken out first.
        brain: the brain mask on its grid, above 0.
    """
    inside = brain.data > 0
    flat = flattened(volume, _SHADING_MM, brain.like(inside.astype(np.uint8))).data
    values = flat[inside]
    means = np.percentile(values, [10, 50, 90])
    for _ in range(_ROUNDS):
        label = np.abs(values[:, None] - means).argmin(axis=1)
        means = np.array([values[label == k].mean() if (label == k).any() else means[k] for k in range(TISSUES)])
    classes = np.full(volume.shape, -1, dtype=np.int8)
    classes[inside] = label
    return classes


def boundary_offsets(classes: np.ndarray, other: Volume) -> tuple[float, float, float]:
    """Along each voxel axis, the shift at which the other scan's edges lie on the boundaries between classes.

    The other scan's steps between neighbouring voxels are looked up where the class changes, and some voxels before and
    behind. Their mean is largest where the two scans lie upon each other; a Gaussian through the largest value and its
    neighbours says where that is, to a fraction of a voxel. Nothing is interpolated, so that no place between the
    voxels is at a disadvantage.

    Args:
        classes: ``(X, Y, Z)`` of :func:`tissue_classes`, -1 outside the brain.
        other: a scan on the same grid.

    Returns:
        mm along each voxel axis; nan where an axis has too few boundaries or the mean has no peak within some voxels.
    """
    x, y, z = (_peak(boundary_profile(classes, other, axis)) * other.spacing[axis] for axis in range(3))
    return x, y, z


def boundary_profile(classes: np.ndarray, other: Volume, axis: int) -> np.ndarray:
    """The other scan's mean step at the boundaries, shifted along an axis by ``-REACH .. REACH`` voxels.

    A step counts from the darker to the brighter class, so that noise and other edges cancel out; each kind of
    boundary (fluid to grey, grey to white) counts as positive where it is strongest. Empty where there are too few.
    """
    along, image = np.moveaxis(classes, axis, 0), np.moveaxis(other.data, axis, 0).astype(np.float32)
    low, high = np.minimum(along[:-1], along[1:]), np.maximum(along[:-1], along[1:])
    up = np.sign(along[1:] - along[:-1])
    steps = np.diff(image, axis=0)
    profile = np.zeros(2 * REACH + 1)
    for pair in ((0, 1), (1, 2)):
        places = np.argwhere((low == pair[0]) & (high == pair[1]))
        places = places[(places[:, 0] >= REACH) & (places[:, 0] < len(steps) - REACH)]
        if len(places) >= _FEW:
            x, y, z = places.T
            each = np.array([(steps[x + k, y, z] * up[x, y, z]).sum() for k in range(-REACH, REACH + 1)])
            profile += each * np.sign(each[np.abs(each).argmax()])
    return profile if profile.any() else np.empty(0)


def _peak(profile: np.ndarray) -> float:
    """Where a profile is highest, in voxels from its middle; nan where that is at its end."""
    top = int(profile.argmax()) if profile.size else 0
    if top in (0, len(profile) - 1) or not profile.size:
        return float("nan")
    around = np.log(np.maximum(profile[top - 1 : top + 2], _FLOOR * profile[top]))
    return top - REACH + 0.5 * float((around[0] - around[2]) / (around[0] - 2 * around[1] + around[2]))
