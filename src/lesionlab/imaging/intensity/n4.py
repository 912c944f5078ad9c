"""Bias fields by N4 (Tustison et al. 2010, doi:10.1109/TMI.2010.2046908), as the papers have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from scipy import ndimage

from lesionlab.imaging.ants_bridge import ensure_reproducible
from lesionlab.imaging.volume import Volume

_ROUNDS = 20
_PURE = 0.75  # of the way from grey to white matter
_ENOUGH = 0.02  # of the brain; with less core than that, something else is the brightest class
_TOP_PERCENTILE = 99.5
_THICK = 1.5  # of the finest voxel side; across such planes no rim is taken off


class N4Options(BaseModel):
    """How N4 estimates a field."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    guide: tuple[str, ...] = Field(
        ("T1w", "T1W", "T1"), description="the first of these shows where white matter is; none there: the whole brain"
    )
    grid_mm: float = Field(4.0, gt=0, description="voxels are thinned out to about this size; thick axes are kept")
    iterations: tuple[PositiveInt, ...] = Field((50, 50, 50), description="per level; each halves the spline's mesh")
    threshold: float = Field(1e-3, gt=0, description="change of the field at which a level ends")
    control_points: PositiveInt = Field(4, ge=4, description="of the cubic spline along each axis, at the first level")
    fwhm: float = Field(0.15, gt=0, description="width of the bias field's histogram, log units")
    noise: float = Field(0.01, gt=0, description="Wiener filter's noise")


def fit_n4(
    volumes: Mapping[str, Volume], usable: Mapping[str, np.ndarray], options: N4Options
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """Fit every sequence's own field within the white matter that a T1-weighted one shows (compare antsAtroposN4.sh).

    Cerebrospinal fluid in T2w and oedema in FLAIR, which a fit over the whole brain takes for field, lie outside it.

    Args:
        volumes: sequences on one grid.
        usable: ``(X, Y, Z)`` bool per sequence: brain where it is positive.
        options: see :class:`N4Options`.

    Returns:
        natural logarithms of the fields ``(X, Y, Z)`` float32 per sequence, and the white matter (bool; None where
        no guide is there).
    """
    guide = next((name for name in options.guide if name in volumes), None)
    white = None if guide is None else white_matter(volumes[guide], usable[guide], options)
    fields = {name: _n4(volume, _within(usable[name], white), options) for name, volume in volumes.items()}
    return fields, white


def _within(usable: np.ndarray, white: np.ndarray | None) -> np.ndarray:
    """The white matter that a scan saw; all it saw, where that is none."""
    seen = usable if white is None else usable & white
    return seen if seen.any() else usable


def white_matter(volume: Volume, inside: np.ndarray, options: N4Options) -> np.ndarray:
    """The brightest of three classes of a T1-weighted brain, bool: a rough map, for fitting bias fields only."""
    corrected = volume.data * np.exp(-_n4(volume, inside, options))
    values = corrected[inside]
    centers = _three_means(values)
    low = centers[1] + _PURE * (centers[2] - centers[1])
    bright = inside & (corrected > low) & (corrected < np.percentile(values, _TOP_PERCENTILE))
    core = without_rim(bright, volume.spacing)  # the rim of white matter is part grey
    return core if core.sum() > _ENOUGH * inside.sum() else inside


def without_rim(mask: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """A mask without its outermost voxels, along the finer axes: across thick planes nothing would be left."""
    size = [3 if step < _THICK * min(spacing) else 1 for step in spacing]
    return ndimage.binary_erosion(mask, np.ones(size))


def _three_means(values: np.ndarray) -> np.ndarray:
    """Centres of three classes of values, ascending (Lloyd's algorithm from the 10th, 50th and 85th percentile)."""
    centers = np.percentile(values, (10, 50, 85))
    for _ in range(_ROUNDS):
        nearest = np.abs(values[:, None] - centers).argmin(axis=1)
        centers = np.array([values[nearest == k].mean() if (nearest == k).any() else centers[k] for k in range(3)])
    return centers


def _n4(volume: Volume, usable: np.ndarray, options: N4Options) -> np.ndarray:
    ensure_reproducible()
    import SimpleITK as sitk

    image, mask = _image(volume, volume.data), _image(volume, usable.astype(np.uint8))
    # Each axis is thinned by itself: a plane of 5 mm is worth four voxels of 1 mm, and none of them is dropped.
    shrink = [max(1, round(options.grid_mm / size)) for size in volume.spacing]
    filter_ = sitk.N4BiasFieldCorrectionImageFilter()
    filter_.SetNumberOfThreads(1)
    filter_.SetMaximumNumberOfIterations(list(options.iterations))
    filter_.SetConvergenceThreshold(options.threshold)
    filter_.SetNumberOfControlPoints([options.control_points] * 3)
    filter_.SetBiasFieldFullWidthAtHalfMaximum(options.fwhm)
    filter_.SetWienerFilterNoise(options.noise)
    filter_.Execute(sitk.Shrink(image, shrink), sitk.Shrink(mask, shrink))
    return sitk.GetArrayFromImage(filter_.GetLogBiasFieldAsImage(image)).T.astype(np.float32)


def _image(volume: Volume, data: np.ndarray) -> Any:
    # N4 does not care where the head lies, only how large its voxels are.
    import SimpleITK as sitk

    kind = np.uint8 if data.dtype == np.uint8 else np.float32
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.T, dtype=kind))
    image.SetSpacing(volume.spacing)
    return image
