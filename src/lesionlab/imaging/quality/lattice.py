"""The lattice on which quality is measured: upright, equal voxels around the brain, whatever the scans' own grids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lesionlab.imaging.resample import resample
from lesionlab.imaging.volume import Volume

STEP_MM = 3.0
MARGIN_MM = 18.0  # around the brain: farther than any measure looks


@dataclass(frozen=True)
class Lattice:
    """A brain on equal voxels, with what lies around it.

    Attributes:
        brain: bool mask; its axes point to R, A, S.
        affine: ``(4, 4)``, voxel -> RAS mm.
        step: voxel, mm.
    """

    brain: np.ndarray
    affine: np.ndarray
    step: float

    def sampled(self, volume: Volume, fill: float = 0.0) -> np.ndarray:
        """An image, linearly interpolated: ``brain.shape`` float32, ``fill`` outside its field of view."""
        shape = self.brain.shape
        return resample(volume, shape, self.affine, fill=fill).data  # type: ignore[arg-type]

    def share(self, mask: Volume) -> np.ndarray:
        """How much of each voxel lies in a mask (anything above 0): ``brain.shape`` float32 in [0, 1]."""
        return self.sampled(mask.like((mask.data > 0).astype(np.float32)))

    def points(self) -> np.ndarray:
        """RAS mm of every voxel: ``(3, X, Y, Z)`` float32."""
        index = np.indices(self.brain.shape, dtype=np.float32)
        origin = self.affine[:3, 3].astype(np.float32)
        return index * np.float32(self.step) + origin[:, None, None, None]

    def depth(self) -> np.ndarray:
        """Signed distance to the brain's surface, mm, positive inside, float32."""
        inside = ndimage.distance_transform_edt(self.brain, sampling=self.step)
        outside = ndimage.distance_transform_edt(~self.brain, sampling=self.step)
        return (inside - outside).astype(np.float32)


def lattice_around(brain: Volume, step: float = STEP_MM, margin: float = MARGIN_MM) -> Lattice:
    """The lattice around a brain mask (anything above 0), on whatever grid.

    Raises:
        ValueError: the mask is empty, or too small for the lattice.
    """
    places = np.argwhere(brain.data > 0)
    if not len(places):
        raise ValueError("the brain mask is empty")
    world = places @ brain.affine[:3, :3].T + brain.affine[:3, 3]
    low, high = world.min(axis=0) - margin, world.max(axis=0) + margin
    affine = np.diag([step, step, step, 1.0])
    affine[:3, 3] = low
    shape = tuple(int(side) for side in np.ceil((high - low) / step) + 1)
    found = resample(brain.like((brain.data > 0).astype(np.float32)), shape, affine).data > 0.5  # type: ignore[arg-type]
    if not found.any():
        raise ValueError(f"the brain mask vanishes between voxels of {step:g} mm")
    return Lattice(found, affine, step)
