"""Bias field correction: N4 (Tustison et al. 2010, doi:10.1109/TMI.2010.2046908)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from lesionlab.errors import InputError
from lesionlab.imaging.ants_bridge import ensure_reproducible
from lesionlab.imaging.volume import Volume


class BiasOptions(BaseModel):
    """How the bias field is estimated."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(True, description="off: the field is 0 everywhere")
    grid_mm: float = Field(4.0, gt=0, description="voxels are thinned out to about this size; thick axes are kept")
    iterations: tuple[PositiveInt, ...] = Field((50, 50, 50, 50), description="per level; each halves the spline's mesh")
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
            (standard deviation over mean in the mask).
    """

    volume: Volume
    log_field: Volume
    qc: dict[str, float]


def correct_bias(volume: Volume, mask: Volume, options: BiasOptions) -> BiasCorrected:
    """Estimate the smooth multiplicative field within a mask, and divide by it.

    The mask is the brain, lesions and all: to leave them out would need their labels, which test studies lend to no
    stage. Voxels that are not positive have no logarithm and take no part.

    Args:
        volume: ``(X, Y, Z)`` magnitudes.
        mask: above 0 in the brain, on the same grid.
        options: see :class:`BiasOptions`.

    Raises:
        InputError: the mask is empty, or half of its voxels are not positive (z-scored or log images).
    """
    inside = mask.data > 0
    usable = inside & (volume.data > _positive_floor(volume.data, inside))
    _check(volume, inside, usable)
    log_field = _n4(volume, usable, options) if options.enabled else np.zeros(volume.shape, dtype=np.float32)
    log_field -= log_field[inside].mean()
    corrected = (volume.data * np.exp(-log_field)).astype(np.float32)
    qc = {
        "bias_range": float(np.ptp(np.percentile(log_field[inside], (5, 95)))),
        "cv_before": _variation(volume.data[inside]),
        "cv_after": _variation(corrected[inside]),
    }
    return BiasCorrected(volume.like(corrected), volume.like(log_field), qc)


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


def _check(volume: Volume, inside: np.ndarray, usable: np.ndarray) -> None:
    if not inside.any():
        raise InputError("the brain mask is empty", given="0 voxels", allowed="a brain", cure="look at the mask")
    positive = volume.data[inside] > 0
    if positive.mean() < 0.5:
        raise InputError(
            "a bias field multiplies, but most of the brain is not positive",
            given=f"{positive.mean():.0%} of the brain's voxels are positive",
            allowed="magnitudes as a scanner gives them",
            cure="switch `bias.enabled` off for volumes that were normalised before",
        )
