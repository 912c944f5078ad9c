"""Bias field correction: N4 (Tustison et al. 2010, doi:10.1109/TMI.2010.2046908)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from scipy import ndimage

from lesionlab.errors import InputError
from lesionlab.imaging.ants_bridge import ensure_reproducible
from lesionlab.imaging.volume import Volume

_MOSTLY = 0.9
_ROUNDS = 20
_PURE = 0.75  # of the way from grey to white matter
_THICK = 1.5
_ENOUGH = 0.02  # of the brain; with less core than that, something else is the brightest class
_TOP_PERCENTILE = 99.5


class BiasOptions(BaseModel):
    """How the bias field is estimated."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(True, description="off: the field is 0 everywhere")
    guide: tuple[str, ...] = Field(
        ("T1w", "T1W", "T1"), description="the first of these shows where white matter is; none there: the whole brain"
    )
    grid_mm: float = Field(4.0, gt=0, description="voxels are thinned out to about this size; thick axes are kept")
    iterations: tuple[PositiveInt, ...] = Field((50, 50, 50), description="per level; each halves the spline's mesh")
    threshold: float = Field(1e-3, gt=0, description="change of the field at which a level ends")
    control_points: PositiveInt = Field(4, ge=4, description="of the cubic spline along each axis, at the first level")
    fwhm: float = Field(0.15, gt=0, description="width of the bias field's histogram, log units")
    noise: float = Field(0.01, gt=0, description="Wiener filter's noise")


@dataclass(frozen=True)
class BiasCorrected:
    """A volume without its bias field.

    Attributes:
        volume: the volume over the field, float32, everywhere.
        log_field: natural logarithm of the field, float32, mean 0 in the mask; the field multiplies.
        qc: ``bias_range`` (95th less 5th percentile of the log field in the mask), ``cv_before`` and ``cv_after``
            (standard deviation over mean where the field was fitted).
    """

    volume: Volume
    log_field: Volume
    qc: dict[str, float]


@dataclass(frozen=True)
class StudyCorrected:
    """A study without bias fields: ``volumes`` and ``log_fields`` per sequence, ``qc`` as ``<sequence>_<measure>``."""

    volumes: dict[str, Volume]
    log_fields: dict[str, Volume]
    qc: dict[str, float]


def correct_study(volumes: Mapping[str, Volume], mask: Volume, options: BiasOptions) -> StudyCorrected:
    """Correct every sequence of a study, each for its own field, all within the white matter of the guide.

    White matter is the one tissue that is alike all over the brain in every sequence. Cerebrospinal fluid in T2w and
    oedema in FLAIR, which a fit over the whole brain takes for field, lie outside it, and no lesion label is needed
    (compare antsAtroposN4.sh).

    Args:
        volumes: sequences on one grid.
        mask: the brain there.
        options: see :class:`BiasOptions`.

    Raises:
        InputError: as :func:`correct_bias`, with the sequence named.
    """
    guide = next((name for name in options.guide if name in volumes), None)
    within = mask if guide is None or not options.enabled else white_matter(volumes[guide], mask, options)
    done = {name: correct_bias(volume, mask, options, within, name) for name, volume in volumes.items()}
    return StudyCorrected(
        {name: one.volume for name, one in done.items()},
        {name: one.log_field for name, one in done.items()},
        {f"{name}_{measure}": value for name, one in done.items() for measure, value in one.qc.items()},
    )


def correct_bias(
    volume: Volume, mask: Volume, options: BiasOptions, within: Volume | None = None, sequence: str = "the volume"
) -> BiasCorrected:
    """Estimate the smooth multiplicative field of one volume, and divide by it.

    Voxels that are not positive have no logarithm and take no part.

    Args:
        volume: ``(X, Y, Z)`` magnitudes.
        mask: above 0 in the brain, on the same grid.
        options: see :class:`BiasOptions`.
        within: where the field is fitted; the brain by default.
        sequence: named in the error.

    Raises:
        InputError: the mask is empty, or half of its voxels are not positive (z-scored or log images).
    """
    inside = mask.data > 0
    _check(volume, inside, sequence, options)
    fitted = (inside if within is None else within.data > 0) & (volume.data > _positive_floor(volume.data, inside))
    log_field = _n4(volume, fitted, options) if options.enabled else np.zeros(volume.shape, dtype=np.float32)
    log_field -= log_field[inside].mean()
    corrected = (volume.data * np.exp(-log_field)).astype(np.float32)
    qc = {
        "bias_range": float(np.ptp(np.percentile(log_field[inside], (5, 95)))),
        "cv_before": _variation(volume.data[fitted]),
        "cv_after": _variation(corrected[fitted]),
    }
    return BiasCorrected(volume.like(corrected), volume.like(log_field), qc)


def white_matter(volume: Volume, mask: Volume, options: BiasOptions) -> Volume:
    """The brightest of three classes of a T1-weighted brain, uint8: a rough map, for fitting bias fields only."""
    corrected = correct_bias(volume, mask, options).volume
    inside = mask.data > 0
    values = corrected.data[inside]
    centers = _three_means(values)
    low = centers[1] + _PURE * (centers[2] - centers[1])
    bright = inside & (corrected.data > low) & (corrected.data < np.percentile(values, _TOP_PERCENTILE))
    # The rim of white matter is part grey. Across thick planes an erosion would leave nothing.
    size = [3 if step < _THICK * min(mask.spacing) else 1 for step in mask.spacing]
    core = ndimage.binary_erosion(bright, np.ones(size))
    return mask.like((core if core.sum() > _ENOUGH * inside.sum() else inside).astype(np.uint8))


def _three_means(values: np.ndarray) -> np.ndarray:
    """Centres of three classes of values, ascending (Lloyd's algorithm from the 10th, 50th and 85th percentile)."""
    centers = np.percentile(values, (10, 50, 85))
    for _ in range(_ROUNDS):
        nearest = np.abs(values[:, None] - centers).argmin(axis=1)
        centers = np.array([values[nearest == k].mean() if (nearest == k).any() else centers[k] for k in range(3)])
    return centers


def _n4(volume: Volume, usable: np.ndarray, options: BiasOptions) -> np.ndarray:
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


def _positive_floor(data: np.ndarray, inside: np.ndarray) -> float:
    """Below a thousandth of the brain's median the logarithm is noise."""
    return 1e-3 * float(np.median(data[inside])) if inside.any() else 0.0


def _variation(values: np.ndarray) -> float:
    return float(values.std() / abs(values.mean())) if values.mean() != 0 else 0.0


def _check(volume: Volume, inside: np.ndarray, sequence: str, options: BiasOptions) -> None:
    if not inside.any():
        raise InputError("the brain mask is empty", given="0 voxels", allowed="a brain", cure="look at the mask")
    positive = float((volume.data[inside] > 0).mean())
    if options.enabled and positive < _MOSTLY:
        raise InputError(
            f"a bias field multiplies, but much of the brain in {sequence} is not positive",
            given=f"{positive:.0%} of the brain's voxels are positive",
            allowed=f"at least {_MOSTLY:.0%}: magnitudes as a scanner gives them",
            cure="switch `bias.enabled` off for volumes that were normalised before",
        )
