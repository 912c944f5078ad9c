"""Resampling: the one place where voxels move to another grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Displacement:
    """A displacement field: a point ``p`` moves to ``p + d(p)``; outside the field as on its border.

    Attributes:
        vectors: ``(X, Y, Z, 3)`` mm along R, A, S.
        affine: ``(4, 4)`` of the field's grid, voxel -> RAS mm.
    """

    vectors: np.ndarray
    affine: np.ndarray

    def applied(self, points: np.ndarray) -> np.ndarray:
        """Where points ``(3, ...)`` RAS mm go."""
        places = _apply(np.linalg.inv(self.affine), points)
        components = (self.vectors[..., axis].astype(np.float64) for axis in range(3))
        return points + np.stack(
            [ndimage.map_coordinates(component, places, order=1, mode="nearest") for component in components]
        )


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
    return resample_through(
        volume,
        shape,
        affine,
        () if matrix is None else (matrix,),
        interpolation=interpolation,
        fill=fill,
        antialias=antialias,
    )


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


def resample_through(
    volume: Volume,
    shape: tuple[int, int, int],
    affine: np.ndarray,
    chain: Sequence[np.ndarray | Displacement],
    *,
    interpolation: Interpolation = "linear",
    fill: float = 0.0,
    antialias: bool = True,
) -> Volume:
    """Bring a volume to another grid through several transforms at once: voxels are interpolated a single time.

    Args:
        volume: the moving volume, as it was scanned.
        shape: ``(X, Y, Z)`` of the new grid.
        affine: ``(4, 4)`` of the new grid, voxel -> RAS mm.
        chain: what leads from a point of the new grid to the point of ``volume`` seen there, in that order: ``(4, 4)``
            matrices in RAS mm, and displacement fields.
        interpolation: see :data:`Interpolation`.
        fill: value outside the volume's field of view.
        antialias: as in :func:`resample`; a displacement field counts as neither stretching nor shrinking.

    Returns:
        float32 for images; the volume's own dtype for label maps.
    """
    linear = np.linalg.inv(volume.affine) @ _product(chain) @ affine
    sigma = _antialias_sigma(linear) if antialias else (0.0, 0.0, 0.0)
    if any(isinstance(link, Displacement) for link in chain):
        places = _places(volume, shape, affine, chain)
        inside = _within([*places], volume.shape)

        def sample(data: np.ndarray, order: int) -> np.ndarray:
            return ndimage.map_coordinates(data, places, order=order, mode="nearest")
    else:
        inside = _inside(linear, volume.shape, shape)

        # mode="nearest" carries the outermost plane half a voxel outwards; what lies farther is filled.
        def sample(data: np.ndarray, order: int) -> np.ndarray:
            return ndimage.affine_transform(data, linear[:3, :3], linear[:3, 3], shape, order=order, mode="nearest")

    return Volume(_interpolated(volume.data, sample, inside, interpolation, sigma, fill), np.array(affine, np.float64))


Sample = Callable[[np.ndarray, int], np.ndarray]


def _interpolated(
    data: np.ndarray,
    sample: Sample,
    inside: np.ndarray,
    interpolation: Interpolation,
    sigma: tuple[float, ...],
    fill: float,
) -> np.ndarray:
    if interpolation == "labels":
        moved = _sample_labels(data, sample, inside.shape, sigma, int(fill))
    elif interpolation == "nearest":
        moved = sample(data, 0)
    else:
        smooth = ndimage.gaussian_filter(data.astype(np.float32), sigma, mode="nearest")
        moved = sample(smooth, _ORDERS[interpolation])
    moved[~inside] = fill
    return moved


def _sample_labels(
    labels: np.ndarray, sample: Sample, shape: tuple[int, ...], sigma: tuple[float, ...], fill: int
) -> np.ndarray:
    best = np.full(shape, fill, dtype=labels.dtype)
    largest = np.zeros(shape, dtype=np.float32)
    for label in np.unique(labels):
        indicator = ndimage.gaussian_filter((labels == label).astype(np.float32), sigma, mode="nearest")
        share = sample(indicator, 1)
        better = share > largest
        best[better], largest[better] = label, share[better]
    return best


def _product(chain: Sequence[np.ndarray | Displacement]) -> np.ndarray:
    """The chain's matrices as one, its displacement fields left out."""
    product = np.eye(4)
    for link in chain:
        if not isinstance(link, Displacement):
            product = link @ product
    return product


def _places(
    volume: Volume, shape: tuple[int, int, int], affine: np.ndarray, chain: Sequence[np.ndarray | Displacement]
) -> np.ndarray:
    """Voxel coordinates in the volume of every voxel of the new grid, ``(3, *shape)`` float64."""
    points = _apply(affine, np.indices(shape, dtype=np.float64))
    for link in chain:
        points = link.applied(points) if isinstance(link, Displacement) else _apply(link, points)
    return _apply(np.linalg.inv(volume.affine), points)


def _apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """A ``(4, 4)`` matrix on points ``(3, ...)``."""
    shift = matrix[:3, 3].reshape(3, *(1,) * (points.ndim - 1))
    return np.tensordot(matrix[:3, :3], points, axes=1) + shift


def _inside(to_voxel: np.ndarray, source: tuple[int, ...], shape: tuple[int, int, int]) -> np.ndarray:
    """Where the new grid's voxels lie in the source's field of view: ``(X, Y, Z)`` bool."""
    i, j, k = np.ogrid[: shape[0], : shape[1], : shape[2]]
    return _within([row[0] * i + row[1] * j + row[2] * k + row[3] for row in to_voxel[:3]], source)


def _within(places: Sequence[np.ndarray], source: tuple[int, ...]) -> np.ndarray:
    inside = np.ones(np.broadcast_shapes(*(place.shape for place in places)), dtype=bool)
    rounding = 1e-4
    for place, count in zip(places, source[:3], strict=True):
        inside &= (place >= -0.5 - rounding) & (place <= count - 0.5 + rounding)
    return inside


def _antialias_sigma(to_voxel: np.ndarray) -> tuple[float, float, float]:
    """Gaussian widths in source voxels that turn a source voxel's response into a target voxel's."""
    # Extent of one target voxel along each source axis, in source voxels.
    extent = np.abs(to_voxel[:3, :3]).max(axis=1)
    sigma = np.sqrt(np.maximum(extent**2 - 1.0, 0.0)) / _FWHM_PER_SIGMA
    sigma[extent < _NO_LOSS] = 0.0
    return float(sigma[0]), float(sigma[1]), float(sigma[2])
