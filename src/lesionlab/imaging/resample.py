"""Resampling: the one place where voxels move to another grid."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy import ndimage

from lesionlab.imaging.volume import Volume

#: ``linear`` and ``cubic`` (B-spline) for images; ``nearest`` and ``labels`` for label maps. ``labels`` interpolates
#: every label's indicator linearly and takes the largest, which leaves smoother borders than ``nearest``.
Interpolation = Literal["linear", "cubic", "nearest", "labels"]

_ORDERS = {"linear": 1, "cubic": 3, "nearest": 0}
_FWHM_PER_SIGMA = 2.3548
_NO_LOSS = 1.1  # below this ratio of voxel sizes the smoothing would cost more than the aliasing


def resample(
    volume: Volume,
    shape: tuple[int, int, int],
    affine: np.ndarray,
    *,
    matrix: np.ndarray | None = None,
    interpolation: Interpolation = "linear",
    fill: float = 0.0,
    antialias: bool = True,
) -> Volume:
    """Bring a volume to another grid.

    Args:
        volume: the moving volume.
        shape: ``(X, Y, Z)`` of the new grid.
        affine: ``(4, 4)`` of the new grid, voxel -> RAS mm.
        matrix: ``(4, 4)`` RAS mm, a point of the new grid -> the point of ``volume`` seen there; identity by default.
        interpolation: see :data:`Interpolation`.
        fill: value outside the volume's field of view, whose border is half a voxel beyond the outermost centres.
        antialias: smooth first along the axes that lose resolution, to the new voxels' width.

    Returns:
        float32 for images; the volume's own dtype for label maps.
    """
    to_voxel = np.linalg.inv(volume.affine) @ (np.eye(4) if matrix is None else matrix) @ affine
    sigma = _antialias_sigma(to_voxel) if antialias else (0.0, 0.0, 0.0)
    if interpolation == "labels":
        moved = _resample_labels(volume.data, to_voxel, shape, sigma, int(fill))
    elif interpolation == "nearest":
        moved = _sample(volume.data, to_voxel, shape, order=0)
        moved[~_inside(to_voxel, volume.shape, shape)] = fill
    else:
        smooth = ndimage.gaussian_filter(volume.data.astype(np.float32), sigma, mode="nearest")
        moved = _sample(smooth, to_voxel, shape, order=_ORDERS[interpolation])
        moved[~_inside(to_voxel, volume.shape, shape)] = fill
    return Volume(moved, np.asarray(affine, dtype=np.float64))


def resample_like(
    volume: Volume,
    target: Volume,
    *,
    matrix: np.ndarray | None = None,
    interpolation: Interpolation = "linear",
    fill: float = 0.0,
    antialias: bool = True,
) -> Volume:
    """:func:`resample` onto the grid of ``target``."""
    return resample(
        volume,
        target.shape,
        target.affine,
        matrix=matrix,
        interpolation=interpolation,
        fill=fill,
        antialias=antialias,
    )


def _resample_labels(
    labels: np.ndarray, to_voxel: np.ndarray, shape: tuple[int, int, int], sigma: tuple[float, ...], fill: int
) -> np.ndarray:
    best = np.full(shape, fill, dtype=labels.dtype)
    largest = np.zeros(shape, dtype=np.float32)
    for label in np.unique(labels):
        indicator = ndimage.gaussian_filter((labels == label).astype(np.float32), sigma, mode="nearest")
        share = _sample(indicator, to_voxel, shape, order=1)
        better = share > largest
        best[better], largest[better] = label, share[better]
    best[~_inside(to_voxel, labels.shape, shape)] = fill
    return best


def _sample(data: np.ndarray, to_voxel: np.ndarray, shape: tuple[int, int, int], order: int) -> np.ndarray:
    # mode="nearest" carries the outermost plane half a voxel outwards; what lies farther is filled by the caller.
    return ndimage.affine_transform(
        data, to_voxel[:3, :3], to_voxel[:3, 3], output_shape=shape, order=order, mode="nearest"
    )


def _inside(to_voxel: np.ndarray, source: tuple[int, ...], shape: tuple[int, int, int]) -> np.ndarray:
    """Where the new grid's voxels lie in the source's field of view: ``(X, Y, Z)`` bool."""
    i, j, k = np.ogrid[: shape[0], : shape[1], : shape[2]]
    inside = np.ones(shape, dtype=bool)
    rounding = 1e-4
    for row, count in zip(to_voxel[:3], source[:3], strict=True):
        place = row[0] * i + row[1] * j + row[2] * k + row[3]
        inside &= (place >= -0.5 - rounding) & (place <= count - 0.5 + rounding)
    return inside


def _antialias_sigma(to_voxel: np.ndarray) -> tuple[float, float, float]:
    """Gaussian widths in source voxels that turn a source voxel's response into a target voxel's."""
    # Extent of one target voxel along each source axis, in source voxels.
    extent = np.abs(to_voxel[:3, :3]).max(axis=1)
    sigma = np.sqrt(np.maximum(extent**2 - 1.0, 0.0)) / _FWHM_PER_SIGMA
    sigma[extent < _NO_LOSS] = 0.0
    return float(sigma[0]), float(sigma[1]), float(sigma[2])
