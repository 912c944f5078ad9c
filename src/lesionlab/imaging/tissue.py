"""Tissue maps: Atropos (Avants et al. 2011, doi:10.1007/s12021-011-9109-y) with priors warped from MNI152."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt
from scipy import ndimage

from lesionlab.errors import InputError
from lesionlab.imaging.ants_bridge import from_ants, load_ants, scratch, to_ants
from lesionlab.imaging.ants_command import Metric, Search, Stage
from lesionlab.imaging.similarity import correlation
from lesionlab.imaging.volume import Volume, same_grid

TISSUES = ("CSF", "GM", "WM")


class TissueOptions(BaseModel):
    """How tissues are told apart."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(True, description="off: no tissue maps")
    anatomy: tuple[str, ...] = Field(("T1w", "T1ce", "T2w", "FLAIR"), description="MNI152 meets the first one there")
    sequences: tuple[str, ...] = Field(("T1w", "T2w"), description="Atropos looks at those of them that are there")
    prior_weight: float = Field(0.25, ge=0, le=1, description="of MNI152's tissue maps against the intensities")
    smoothing: float = Field(0.1, ge=0, description="weight of Atropos' Markov random field")
    iterations: PositiveInt = Field(5, description="of Atropos")
    warp_iterations: tuple[NonNegativeInt, ...] = Field((40, 20), description="of SyN, per level; () : affine only")
    template_mm: float = Field(2.0, gt=0, description="voxel size at which MNI152 is used")


@dataclass(frozen=True)
class Tissues:
    """Tissue maps of a study.

    Attributes:
        maps: ``CSF``, ``GM``, ``WM``: float32 in [0, 1], summing to 1 in the mask, 0 outside.
        qc: ``csf_ml``, ``gm_ml``, ``wm_ml``, ``template_correlation`` (of the warped MNI152 T1 with the scan).
    """

    maps: dict[str, Volume]
    qc: dict[str, float]


def segment_tissues(volumes: Mapping[str, Volume], mask: Volume, options: TissueOptions) -> Tissues:
    """Cerebrospinal fluid, grey and white matter of one study.

    Args:
        volumes: stripped, bias-corrected sequences on one grid.
        mask: the brain on that grid, above 0.
        options: see :class:`TissueOptions`.

    Raises:
        InputError: none of ``options.anatomy`` is there, or the mask lies on another grid.
    """
    anatomy = _first(options.anatomy, volumes)
    if not same_grid(mask, volumes[anatomy]):
        raise InputError(
            "the brain mask lies on another grid than the scans",
            given=f"shape {mask.shape}",
            allowed=f"shape {volumes[anatomy].shape}",
            cure="bring mask and scans to one grid first",
        )
    inside = mask.data > 0
    seen = [volumes[name] for name in options.sequences if name in volumes] or [volumes[anatomy]]
    with scratch() as folder:
        template, priors = _warped_template(volumes[anatomy], inside, options, folder)
        posterior = _atropos([_in_mask(volume, inside) for volume in seen], mask, priors, options)
    maps = {name: mask.like(share) for name, share in zip(TISSUES, posterior, strict=True)}
    qc = {f"{name.lower()}_ml": float(tissue.data.sum() * tissue.voxel_ml) for name, tissue in maps.items()}
    qc["template_correlation"] = correlation(template, volumes[anatomy].data, inside)
    return Tissues(maps, qc)


def _warped_template(
    volume: Volume, inside: np.ndarray, options: TissueOptions, folder: Path
) -> tuple[np.ndarray, list[np.ndarray]]:
    """MNI152's T1 and its tissue maps (CSF, GM, WM) on the study's grid."""
    ants, template = load_ants(), mni152(options.template_mm)
    fixed, moving = to_ants(_in_mask(volume, inside)), to_ants(template["T1w"])
    start = ["[{},{},1]"]  # centres of mass
    from ants.internal import get_pointer_string

    start = [f"[{get_pointer_string(fixed)},{get_pointer_string(moving)},1]"]
    stages = [_linear("Rigid[0.1]", fixed, moving, (100, 0)), _linear("Affine[0.1]", fixed, moving, (100, 50))]
    if any(options.warp_iterations):
        stages.append(_deformable(fixed, moving, options.warp_iterations))
    found = Search(stages, start).run(folder)

    def warp(name: str) -> np.ndarray:
        moved = ants.apply_transforms(fixed, to_ants(template[name]), found.forward, interpolator="linear")
        return from_ants(moved).data

    gray, white = (np.clip(warp(name), 0, 1) for name in ("GM", "WM"))
    total = np.maximum(gray + white, 1)
    gray, white = gray / total, white / total
    return warp("T1w"), [_floored(share) * inside for share in (1 - gray - white, gray, white)]


def _linear(transform: str, fixed: object, moving: object, iterations: tuple[int, ...]) -> Stage:
    metric = Metric("Mattes", fixed, moving, parameter=32, sampling=0.25)
    return Stage(transform, [metric], iterations, (4, 2), (4.0, 2.0), threshold=1e-5, window=5)


def _deformable(fixed: object, moving: object, iterations: tuple[int, ...]) -> Stage:
    levels = len(iterations)
    shrink = [2 ** (levels - 1 - level) for level in range(levels)]
    smoothing = [1.0 * (factor - 1) for factor in shrink]
    return Stage("SyN[0.2,3,0]", [Metric("CC", fixed, moving, parameter=2)], iterations, shrink, smoothing)


def _atropos(
    volumes: list[Volume], mask: Volume, priors: list[np.ndarray], options: TissueOptions
) -> list[np.ndarray]:
    inside = mask.data > 0
    # Atropos reads the priors from files, whose geometry is rounded, and insists on one geometry for all: give it one
    # that survives rounding. Only the voxels' size matters to it.
    affine = np.diag([*(np.maximum(np.rint(np.array(mask.spacing) * 64), 1) / 64), 1.0])
    result = load_ants().atropos(
        [to_ants(Volume(volume.data, affine)) for volume in volumes],
        to_ants(Volume(inside.astype(np.uint8), affine)),
        i=[to_ants(Volume(prior, affine)) for prior in priors],
        m=f"[{options.smoothing},1x1x1]",
        c=f"[{options.iterations},0]",
        priorweight=options.prior_weight,
    )
    shares = np.stack([from_ants(image).data for image in result["probabilityimages"]]) * inside
    total = shares.sum(axis=0)
    # Where no class explains a voxel (a lesion brighter than any tissue), the priors decide.
    lost = inside & (total < _UNEXPLAINED)
    shares[:, lost] = np.stack(priors)[:, lost]
    shares /= np.maximum(shares.sum(axis=0), _UNEXPLAINED)
    return [share.astype(np.float32) for share in shares]


@cache
def mni152(spacing_mm: float) -> dict[str, Volume]:
    """nilearn's MNI152 (2009a): skull-stripped ``T1w`` and the tissue maps ``GM``, ``WM``, in [0, 1]."""
    from nilearn import datasets

    loaders = {
        "T1w": datasets.load_mni152_template,
        "GM": datasets.load_mni152_gm_template,
        "WM": datasets.load_mni152_wm_template,
    }
    images = {name: load(resolution=1) for name, load in loaders.items()}
    return {name: _thinned(image, spacing_mm) for name, image in images.items()}


def _thinned(image: object, spacing_mm: float) -> Volume:
    from lesionlab.imaging.resample import resample

    volume = Volume(np.asarray(image.dataobj, dtype=np.float32), np.asarray(image.affine))  # type: ignore[attr-defined]
    volume = volume.like(volume.data / volume.data.max())
    shape = tuple(int(np.ceil(count * size / spacing_mm)) for count, size in zip(volume.shape, volume.spacing, strict=True))
    scale = np.diag([*(spacing_mm / np.array(volume.spacing)), 1.0])
    return resample(volume, shape, volume.affine @ scale)  # type: ignore[arg-type]


def _in_mask(volume: Volume, inside: np.ndarray) -> Volume:
    top = np.percentile(volume.data[inside], _TOP_PERCENTILE)
    return volume.like(np.where(inside, np.minimum(volume.data, top), 0).astype(np.float32))


def _floored(share: np.ndarray) -> np.ndarray:
    """A prior that excludes nothing: anatomy differs from the template's."""
    return np.clip(ndimage.gaussian_filter(share, _PRIOR_BLUR), _PRIOR_FLOOR, 1.0)


def _first(wanted: tuple[str, ...], volumes: Mapping[str, Volume]) -> str:
    for name in wanted:
        if name in volumes:
            return name
    raise InputError(
        "no sequence to compare with the template's anatomy",
        given=", ".join(volumes),
        allowed=", ".join(wanted),
        cure="name one of the study's sequences in `tissues.anatomy`",
    )


_TOP_PERCENTILE = 99.5
_UNEXPLAINED = 1e-6
_PRIOR_FLOOR = 0.01
_PRIOR_BLUR = 0.5  # voxels
