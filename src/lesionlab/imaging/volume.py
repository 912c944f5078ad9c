"""A volume: voxels and where they lie in the world."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

GRID_TOLERANCE_MM = 0.1  # between corners of grids that are one


@dataclass(frozen=True)
class Volume:
    """A 3D image with its geometry.

    Attributes:
        data: ``(X, Y, Z)`` voxels.
        affine: ``(4, 4)`` float64, voxel indices to RAS millimetres (nibabel's convention).
    """

    data: np.ndarray
    affine: np.ndarray

    def __post_init__(self) -> None:
        if self.data.ndim != 3 or self.affine.shape != (4, 4):
            raise ValueError(f"a volume is 3D with a 4 x 4 affine, got {self.data.shape} and {self.affine.shape}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along each axis."""
        return self.data.shape  # type: ignore[return-value]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size along each axis, mm."""
        sizes = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(sizes[0]), float(sizes[1]), float(sizes[2])

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel, ml."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    def like(self, data: np.ndarray) -> Volume:
        """Other voxels on this volume's grid; raises ``ValueError`` where the shapes differ."""
        if data.shape != self.data.shape:
            raise ValueError(f"voxels of shape {data.shape} do not fit a grid of shape {self.data.shape}")
        return Volume(data, self.affine)


def same_grid(one: Volume, other: Volume) -> bool:
    """Whether two volumes have the same shape and their voxels lie at the same places, see :func:`same_places`."""
    return same_places(one.shape, one.affine, other.shape, other.affine)


def same_places(
    shape: tuple[int, ...], affine: np.ndarray, other_shape: tuple[int, ...], other_affine: np.ndarray
) -> bool:
    """Whether two grids have the same shape and their corners lie within 0.1 mm of each other.

    A rounded header moves the far corner by a hundredth of a millimetre; another voxel size moves it by millimetres.
    """
    if tuple(shape) != tuple(other_shape):
        return False
    corners = np.array([[*corner, 1.0] for corner in itertools.product(*((0, side - 1) for side in shape))])
    apart = (corners @ (affine - other_affine).T)[:, :3]
    return bool(np.linalg.norm(apart, axis=1).max() <= GRID_TOLERANCE_MM)
