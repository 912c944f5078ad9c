"""Bias field correction of a study: which method, what it looks at, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from lesionlab.errors import InputError
from lesionlab.imaging.intensity.n4 import N4Options, fit_n4, without_rim
from lesionlab.imaging.intensity.noise import signal_to_noise
from lesionlab.imaging.intensity.tissue_fit import TissueFit, TissueFitOptions, fit_tissues
from lesionlab.imaging.resample import resample_like
from lesionlab.imaging.volume import Volume, same_grid

_MOSTLY = 0.9
_WHOLE = 0.9  # of the brain; a sequence that covers less does not decide where the others are looked at
_FLOOR = 0.02  # of the brain's median: below, the logarithm is noise


class BiasOptions(BaseModel):
    """How bias fields are estimated."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(True, description="off: the field is 0 everywhere")
    method: Literal["tissue_fit", "n4"] = Field(
        "tissue_fit",
        description="tissue_fit: tissue classes of all sequences at once (a sequence that is alone goes to n4); n4: as "
        "the papers have it, each sequence by itself",
    )
    exclude_lesions: bool = Field(False, description="leave out lesion voxels where a lesion map is given")
    tissue_fit: TissueFitOptions = Field(TissueFitOptions(), description="of that method")
    n4: N4Options = Field(N4Options(), description="of that method")


@dataclass(frozen=True)
class BiasCorrected:
    """A volume without its bias field.

    Attributes:
        volume: the volume over the field, float32, everywhere.
        log_field: natural logarithm of the field, float32, mean 0 in the mask; the field multiplies.
        qc: ``bias_range`` (95th less 5th percentile of the log field in the mask), ``cv_before`` and ``cv_after``
            (standard deviation over mean in the tissue that is most uniform), ``snr`` (of the volume as it came),
            ``covered`` (share of the mask where the volume is not exactly 0: 1 where the scan saw the whole brain).
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


def correct_study(
    volumes: Mapping[str, Volume], mask: Volume, options: BiasOptions, lesion: Volume | None = None
) -> StudyCorrected:
    """Estimate every sequence's smooth multiplicative field, and divide by it.

    Voxels that are not positive have no logarithm and take no part.

    Args:
        volumes: sequences on one grid, magnitudes. Exactly 0 where the scan saw nothing.
        mask: the brain there, above 0.
        options: see :class:`BiasOptions`.
        lesion: above 0 in lesions, on the same grid; used where ``options.exclude_lesions``.

    Raises:
        InputError: the mask is empty, or much of it is negative in a sequence (z-scored or log images).
    """
    inside = mask.data > 0
    for name, volume in volumes.items():
        _check(volume, inside, name, options)
    looked_at = inside
    if options.exclude_lesions and lesion is not None and (inside & (lesion.data == 0)).any():
        looked_at = inside & (lesion.data == 0)
    fields, uniform = _estimate(volumes, looked_at, options)
    done = {name: _corrected(volume, fields[name], inside, uniform) for name, volume in volumes.items()}
    return StudyCorrected(
        {name: one.volume for name, one in done.items()},
        {name: one.log_field for name, one in done.items()},
        {f"{name}_{measure}": value for name, one in done.items() for measure, value in one.qc.items()},
    )


def correct_bias(volume: Volume, mask: Volume, options: BiasOptions, sequence: str = "the volume") -> BiasCorrected:
    """:func:`correct_study` of one volume alone; ``sequence`` is named in errors; T1w guides N4."""
    done = correct_study({sequence: volume}, mask, options)
    qc = {measure.removeprefix(f"{sequence}_"): value for measure, value in done.qc.items()}
    return BiasCorrected(done.volumes[sequence], done.log_fields[sequence], qc)


def apply_field(volume: Volume, log_field: Volume) -> Volume:
    """The volume over a field found on any grid, float32; where the field's grid does not reach, as it was.

    Args:
        volume: ``(X, Y, Z)``.
        log_field: natural logarithm of a field that multiplies, as in :class:`BiasCorrected`; interpolated linearly.
    """
    near = log_field if same_grid(volume, log_field) else resample_like(log_field, volume, antialias=False)
    return volume.like((volume.data * np.exp(-near.data)).astype(np.float32))


def _estimate(
    volumes: Mapping[str, Volume], inside: np.ndarray, options: BiasOptions
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Log field per sequence, and where the most uniform tissue was seen."""
    if not options.enabled:
        return {name: np.zeros(volume.shape, dtype=np.float32) for name, volume in volumes.items()}, inside
    usable = {name: inside & (volume.data > _floor(volume.data, inside)) for name, volume in volumes.items()}
    if options.method == "n4" or len(volumes) == 1:  # one sequence alone hardly tells tissue from field: N4 does better
        fields, white = fit_n4(volumes, usable, options.n4)
        return fields, inside if white is None else white
    return _by_tissues(volumes, usable, options)


def _by_tissues(
    volumes: Mapping[str, Volume], usable: Mapping[str, np.ndarray], options: BiasOptions
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """All sequences at once; one that saw a part of the brain only is fitted with the others in that part alone."""
    most = max(np.count_nonzero(mask) for mask in usable.values())
    whole = [name for name, mask in usable.items() if np.count_nonzero(mask) >= _WHOLE * most]
    fit = _fit_where_all_are(volumes, usable, whole, options.tissue_fit)
    fields = dict(fit.log_fields) if len(whole) > 1 else _alone(volumes, usable, whole, options)
    for name in volumes.keys() - set(whole):
        fields[name] = _fit_where_all_are(volumes, usable, [*whole, name], options.tissue_fit).log_fields[name]
    return fields, fit.uniform


def _alone(
    volumes: Mapping[str, Volume], usable: Mapping[str, np.ndarray], names: list[str], options: BiasOptions
) -> dict[str, np.ndarray]:
    """One sequence alone hardly tells tissue from field: N4 does better."""
    return fit_n4({name: volumes[name] for name in names}, {name: usable[name] for name in names}, options.n4)[0]


def _fit_where_all_are(
    volumes: Mapping[str, Volume],
    usable: Mapping[str, np.ndarray],
    names: list[str],
    options: TissueFitOptions,
) -> TissueFit:
    shared = np.logical_and.reduce([usable[name] for name in names])
    core = without_rim(shared, volumes[names[0]].spacing)
    return fit_tissues({name: volumes[name] for name in names}, core if core.any() else shared, options)


def _corrected(volume: Volume, log_field: np.ndarray, inside: np.ndarray, uniform: np.ndarray) -> BiasCorrected:
    log_field = log_field - log_field[inside].mean()
    corrected = apply_field(volume, volume.like(log_field))
    qc = {
        "bias_range": float(np.ptp(np.percentile(log_field[inside], (5, 95)))),
        "cv_before": _variation(volume.data[uniform]),
        "cv_after": _variation(corrected.data[uniform]),
        "snr": signal_to_noise(volume, inside),
        "covered": float((volume.data[inside] != 0).mean()),
    }
    return BiasCorrected(corrected, volume.like(log_field), qc)


def _floor(data: np.ndarray, inside: np.ndarray) -> float:
    seen = data[inside & (data > 0)]
    return _FLOOR * float(np.median(seen)) if seen.size else 0.0


def _variation(values: np.ndarray) -> float:
    return float(values.std() / abs(values.mean())) if values.size and values.mean() != 0 else 0.0


def _check(volume: Volume, inside: np.ndarray, sequence: str, options: BiasOptions) -> None:
    if not inside.any():
        raise InputError("the brain mask is empty", given="0 voxels", allowed="a brain", cure="look at the mask")
    seen = volume.data[inside & (volume.data != 0)]
    positive = float((seen > 0).mean()) if seen.size else 0.0
    if options.enabled and positive < _MOSTLY:
        raise InputError(
            f"a bias field multiplies, but much of the brain in {sequence} is not positive",
            given=f"{positive:.0%} of the brain's voxels that are not 0 are positive",
            allowed=f"at least {_MOSTLY:.0%}: magnitudes as a scanner gives them",
            cure="switch `bias.enabled` off for volumes that were normalised before",
        )
