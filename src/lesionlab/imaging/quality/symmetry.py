"""The brain's best mid-plane, and what is seen in its mirror."""

from __future__ import annotations

import numpy as np
from scipy import ndimage, optimize

from lesionlab.imaging.quality.lattice import Lattice
from lesionlab.imaging.similarity import correlation

COARSE = 2  # voxels of the lattice per voxel of the search
SMOOTHING = 1.0  # voxels of the search: both halves of a brain are alike in the large only
FIRST_TURN, FIRST_SHIFT_MM = 0.1, 5.0  # the search's first steps: radians, mm
MOST_TURN = 0.5  # radians: no head lies more askew, and a plane across the brain is no mid-plane
STEPS = 120


def mid_plane(image: np.ndarray, lattice: Lattice) -> np.ndarray:
    """The reflection ``(4, 4)``, RAS mm to RAS mm, that makes the brain most like itself.

    Args:
        image: a scan on the lattice; what lies within the brain counts, and the brain's outline.
        lattice: the brain.
    """
    step = (slice(None, None, COARSE),) * 3
    brain, points = lattice.brain[step], lattice.points()[(slice(None), *step)]
    centre = points[:, brain].mean(axis=1)
    shown = ndimage.gaussian_filter(np.where(brain, image[step], 0).astype(np.float32), SMOOTHING)
    affine, at = lattice.affine @ np.diag([COARSE, COARSE, COARSE, 1.0]), points.reshape(3, -1)

    def cost(x: np.ndarray) -> float:
        excess = max(0.0, float(np.abs(x[1:]).max()) * FIRST_TURN - MOST_TURN)
        return excess - correlation(_values(shown, affine, at, _reflection(x, centre)), shown.ravel())

    start = np.vstack([np.zeros(3), np.eye(3)])
    options = {"initial_simplex": start, "xatol": 0.02, "fatol": 1e-4, "maxiter": STEPS}
    return _reflection(optimize.minimize(cost, np.zeros(3), method="Nelder-Mead", options=options).x, centre)


def _reflection(x: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """The mirror through ``centre`` shifted along its normal; the normal is R turned a little to A and S."""
    normal = np.array([1.0, FIRST_TURN * x[1], FIRST_TURN * x[2]])
    normal /= np.linalg.norm(normal)
    matrix = np.eye(4)
    matrix[:3, :3] -= 2 * np.outer(normal, normal)
    matrix[:3, 3] = 2 * normal * (normal @ centre + FIRST_SHIFT_MM * x[0])
    return matrix


def mirrored(image: np.ndarray, lattice: Lattice, plane: np.ndarray) -> np.ndarray:
    """The image as the mirror shows it, on the same lattice, float32; 0 where the mirror looks outside."""
    points = lattice.points()
    values = _values(image, lattice.affine, points.reshape(3, -1), plane)
    return values.reshape(lattice.brain.shape)


def _values(image: np.ndarray, affine: np.ndarray, points: np.ndarray, plane: np.ndarray) -> np.ndarray:
    to_voxel = np.linalg.inv(affine) @ plane
    voxels = to_voxel[:3, :3].astype(np.float32) @ points + to_voxel[:3, 3:].astype(np.float32)
    return ndimage.map_coordinates(image, voxels, output=np.float32, order=1, mode="constant", prefilter=False)


def mask_symmetry(mask: np.ndarray, lattice: Lattice, plane: np.ndarray) -> float:
    """Dice of a mask and its mirror image; 1 where both halves are alike, 0 for an empty mask."""
    other = mirrored(mask.astype(np.float32), lattice, plane) > 0.5
    total = np.count_nonzero(mask) + np.count_nonzero(other)
    return 2 * np.count_nonzero(mask & other) / total if total else 0.0


def image_symmetry(image: np.ndarray, lattice: Lattice, plane: np.ndarray) -> float:
    """Correlation of an image with its mirror image where both are brain."""
    both = lattice.brain & (mirrored(lattice.brain.astype(np.float32), lattice, plane) > 0.5)
    return correlation(mirrored(image, lattice, plane), image, both) if both.any() else 0.0
