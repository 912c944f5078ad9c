"""Planes of the patient's world: one view for volumes that lie on different grids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lesionlab.imaging.volume import Volume

MARGIN_MM = 12.0  # shown around the brain
HEAD = (0.2, 99.8)  # percentiles of the bright voxels that count as the head
PIXELS = 112  # samples along a picture's longest side
HEIGHTS = (0.38, 0.55, 0.72)  # how far up the brain the planes lie


@dataclass(frozen=True)
class Frame:
    """Axial planes in RAS millimetres, sampled like a slice: row 0 anterior, the patient's right on the left.

    Attributes:
        x: ``(W,)`` mm of the columns, falling.
        y: ``(H,)`` mm of the rows, falling.
        heights: mm of the planes, rising.
    """

    x: np.ndarray
    y: np.ndarray
    heights: tuple[float, ...]

    def plane(self, volume: Volume, at: int, *, nearest: bool = False) -> np.ndarray:
        """The volume in plane ``at``, ``(H, W)`` float32, linear or nearest; its background outside the volume."""
        x, y = np.meshgrid(self.x, self.y)
        points = np.stack([x, y, np.full_like(x, self.heights[at])])
        inverse = np.linalg.inv(volume.affine)
        voxels = np.tensordot(inverse[:3, :3], points, axes=1) + inverse[:3, 3, None, None]
        data = np.asarray(volume.data, dtype=np.float32)
        background = float(data.min())  # not 0: the background of z-scored scans is negative
        # "grid-constant" fades within half a voxel outside, so that a volume of few planes keeps its outer ones.
        return ndimage.map_coordinates(data, voxels, order=0 if nearest else 1, mode="grid-constant", cval=background)


def frame_around(
    brain: Volume, *, head: Volume | None = None, lesion: Volume | None = None, pixels: int = PIXELS
) -> Frame:
    """Three planes through the brain; one of them moves to where the lesion is largest.

    Args:
        brain: mask, anything above 0.
        head: a scan that is to be seen whole, so that a mask with a part missing does not hide what it misses.
        lesion: mask, anything above 0.
        pixels: samples along the longest side.

    Raises:
        ValueError: the brain mask is empty.
    """
    if not np.any(brain.data > 0):
        raise ValueError("a strip needs a brain mask that is not empty")
    world = _world(brain)
    low, high = world.min(axis=0), world.max(axis=0)
    heights = [float(low[2] + share * (high[2] - low[2])) for share in HEIGHTS]
    if lesion is not None and np.any(lesion.data > 0):
        height = _largest_plane(lesion)
        heights[int(np.argmin([abs(height - other) for other in heights]))] = height
    low, high = low - MARGIN_MM, high + MARGIN_MM
    if head is not None:
        low, high = _with_head(head, low, high)
    centre, half = (low + high) / 2, (high - low) / 2
    step = 2 * max(half[0], half[1]) / pixels
    columns, rows = (round(2 * side / step) for side in half[:2])
    x = centre[0] - (np.arange(columns) - (columns - 1) / 2) * step
    y = centre[1] - (np.arange(rows) - (rows - 1) / 2) * step
    return Frame(x, y, tuple(sorted(heights)))


def foreground(volume: Volume) -> Volume:
    """A rough mask of the head, for scans without a brain mask: what is brighter than the mean."""
    return volume.like((volume.data > volume.data.mean()).astype(np.uint8))


def _world(mask: Volume) -> np.ndarray:
    voxels = np.argwhere(mask.data > 0)
    return voxels @ mask.affine[:3, :3].T + mask.affine[:3, 3]


def _with_head(head: Volume, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # Only what lies at the brain's height: the neck and the jaw are not to make the brain small.
    world = _world(foreground(head))
    beside = world[(world[:, 2] >= low[2]) & (world[:, 2] <= high[2])]
    if not len(beside):
        return low, high
    outer_low, outer_high = np.percentile(beside, HEAD, axis=0)
    return np.minimum(low, outer_low), np.maximum(high, outer_high)


def _largest_plane(mask: Volume) -> float:
    # Heights are counted in bins as thick as the voxels are high, whichever axis that is.
    heights = _world(mask)[:, 2]
    thickness = float(np.abs(mask.affine[2, :3]).max())
    bins = np.round(heights / thickness).astype(int)
    values, counts = np.unique(bins, return_counts=True)
    return float(heights[bins == values[counts.argmax()]].mean())
