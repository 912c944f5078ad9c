"""A pair of scans seen under one rigid or affine pose after another: what they share wherever both see the head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from lesionlab.imaging.volume import Volume

_EMPTY = 1e-12


@dataclass(frozen=True)
class Pair:
    """Sample points of the fixed scan, and the moving scan they are looked up in.

    Attributes:
        points: ``(N, 3)`` RAS mm in the fixed scan.
        fixed: ``(N,)`` int64, the fixed scan's bin at each point, ``0 .. bins - 1``.
        moving: the moving scan, in units of bins: float32 in ``[0, bins - 1]``.
        bins: of either scan.
        least: share of the points that the moving scan has to see for a pose to count at all.
    """

    points: np.ndarray
    fixed: np.ndarray
    moving: Volume
    bins: int
    least: float

    def mutual_information(self, matrix: np.ndarray) -> float:
        """In nats, over the points whose image under ``matrix`` lies in the moving scan; 0 where those are too few.

        Args:
            matrix: ``(4, 4)`` RAS mm of the fixed scan -> RAS mm of the moving scan.
        """
        values, seen = self.look_up(matrix)
        if seen.mean() < self.least:
            return 0.0
        joint = _joint(self.fixed[seen], values[seen], self.bins)
        independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
        filled = joint > 0
        return float((joint[filled] * np.log(joint[filled] / independent[filled])).sum())

    def look_up(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The moving scan's value at each point, ``(N,)`` float32, and whether it sees the point, ``(N,)`` bool."""
        to_voxel = np.linalg.inv(self.moving.affine) @ matrix
        places = to_voxel[:3, :3] @ self.points.T + to_voxel[:3, 3:]
        top = np.array(self.moving.shape)[:, None] - 0.5
        seen = ((places >= -0.5) & (places <= top)).all(axis=0)
        return ndimage.map_coordinates(self.moving.data, places, order=1, mode="nearest"), seen


def make_pair(fixed: Volume, moving: Volume, where: np.ndarray, bins: int, samples: int, least: float = 0.3) -> Pair:
    """Sample a pair of scans.

    Args:
        fixed: values of any range.
        moving: values of any range, on any grid.
        where: bool on the fixed grid: voxels that may be looked at.
        bins: of the joint histogram.
        samples: points at most, in a regular order.
        least: see :class:`Pair`.
    """
    index = np.argwhere(where)
    index = index[:: max(1, -(-len(index) // samples))]
    values = fixed.data[tuple(index.T)]
    points = index @ fixed.affine[:3, :3].T + fixed.affine[:3, 3]
    binned = np.rint(_scaled(values, bins)).astype(np.int64)
    return Pair(points, binned, moving.like(_scaled(moving.data, bins)), bins, least)


def rigid_matrix(pose: np.ndarray, center: np.ndarray, base: np.ndarray) -> np.ndarray:
    """``base`` after a turn about ``center`` and a shift: ``(4, 4)``.

    Args:
        pose: ``(6,)``: rotation vector in degrees, shift in mm.
        center: ``(3,)`` RAS mm of the fixed scan.
        base: ``(4, 4)``, fixed -> moving.
    """
    step = np.eye(4)
    step[:3, :3] = Rotation.from_rotvec(pose[:3], degrees=True).as_matrix()
    step[:3, 3] = center + pose[3:] - step[:3, :3] @ center
    return base @ step


def _scaled(values: np.ndarray, bins: int) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    return ((values - low) * ((bins - 1) / max(high - low, _EMPTY))).astype(np.float32)


def _joint(fixed: np.ndarray, moving: np.ndarray, bins: int) -> np.ndarray:
    """Joint histogram ``(bins, bins)`` that sums to 1; a moving value is shared between the two bins next to it."""
    low = np.minimum(moving.astype(np.int64), bins - 2)
    part = moving - low
    cell = fixed * bins + low
    joint = np.bincount(cell, 1 - part, bins * bins) + np.bincount(cell + 1, part, bins * bins)
    return joint.reshape(bins, bins) / max(len(fixed), 1)
