"""Tissue maps: Atropos (Avants et al. 2011, doi:10.1007/s12021-011-9109-y) with priors warped from MNI152."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt
from scipy import ndimage

from lesionlab.errors import InputError
from lesionlab.imaging.ants_bridge import load_ants, matrix_from_ants, scratch, to_ants
from lesionlab.imaging.ants_command import Metric, Search, Stage, atropos
from lesionlab.imaging.resample import resample, resample_like
from lesionlab.imaging.similarity import correlation
from lesionlab.imaging.volume import Volume, same_grid

TISSUES = ("CSF", "GM", "WM")

_TOP_PERCENTILE = 99.5
_BINS = 32
_SAMPLING = 0.25
_PRESENT = 0.3  # share from which a voxel belongs to a tissue at all
_FEW = 20  # voxels
_OUTER = 20.0  # percentile
_SPREAD = 100.0
_RIM = 3  # voxels
_UNEXPLAINED = 1e-6
_PRIOR_FLOOR = 0.01
_PRIOR_BLUR = 0.5  # voxels


class TissueOptions(BaseModel):
    """How tissues are told apart."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(True, description="off: no tissue maps")
    anatomy: tuple[str, ...] = Field(("T1w", "T1ce", "T2w", "FLAIR"), description="MNI152 meets the first one there")
    sequences: tuple[str, ...] = Field(
        ("T1w",), description="Atropos looks at those of them that are there; at the anatomy where none is"
    )
    prior_weight: float = Field(0.25, ge=0, le=1, description="of MNI152's tissue maps against the intensities")
    smoothing: float = Field(0.1, ge=0, description="weight of Atropos' Markov random field")
    iterations: PositiveInt = Field(3, description="of Atropos")
    partial_volume: bool = Field(True, description="share voxels on a border between two tissues by their intensity")
    warp_iterations: tuple[NonNegativeInt, ...] = Field((40, 30, 0), description="of SyN, per level; () : affine only")
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
    if options.partial_volume:
        posterior = mixed(posterior, [volume.data for volume in seen])
    maps = {name: mask.like(share) for name, share in zip(TISSUES, posterior, strict=True)}
    qc = {f"{name.lower()}_ml": float(tissue.data.sum() * tissue.voxel_ml) for name, tissue in maps.items()}
    qc["template_correlation"] = correlation(template, volumes[anatomy].data, inside)
    return Tissues(maps, qc)


def _warped_template(
    volume: Volume, inside: np.ndarray, options: TissueOptions, folder: Path
) -> tuple[np.ndarray, list[np.ndarray]]:
    """MNI152's T1 and its tissue maps (CSF, GM, WM) on the study's grid."""
    fixed = _in_mask(volume, inside)
    box = _box(inside)
    near = _cut(fixed, box)
    template, matrix = mni152(options.template_mm), _affine(fixed, mni152(options.template_mm)["T1w"], folder)
    # From here on the template has the study's thick planes, as the study has, and a twentieth of its voxels.
    moved = {name: resample_like(each, near, matrix=matrix) for name, each in template.items()}
    if any(options.warp_iterations):
        moved = _warped(near, moved, options, folder)
    whole = {name: _put_back(each.data, box, volume.shape) for name, each in moved.items()}
    gray, white = (np.clip(whole[name], 0, 1) for name in ("GM", "WM"))
    total = np.maximum(gray + white, 1)
    gray, white = gray / total, white / total
    return whole["T1w"], [_floored(share) * inside for share in (1 - gray - white, gray, white)]


def _affine(fixed: Volume, moving: Volume, folder: Path) -> np.ndarray:
    from ants.internal import get_pointer_string

    one, other = to_ants(fixed), to_ants(moving)
    metric = Metric("Mattes", one, other, parameter=_BINS, sampling=_SAMPLING)
    stages = [
        Stage(kind, [metric], (100, iterations), (4, 2), (4.0, 2.0), threshold=1e-5, window=5)
        for kind, iterations in (("Rigid[0.1]", 0), ("Affine[0.1]", 50))
    ]
    masses = f"[{get_pointer_string(one)},{get_pointer_string(other)},1]"
    found = Search(stages, [masses]).run(folder, "affine")
    assert found.linear is not None
    return matrix_from_ants(found.linear)


def _warped(fixed: Volume, moving: Mapping[str, Volume], options: TissueOptions, folder: Path) -> dict[str, Volume]:
    one, others = to_ants(fixed), {name: to_ants(volume) for name, volume in moving.items()}
    levels = len(options.warp_iterations)
    shrink = [2 ** (levels - 1 - level) for level in range(levels)]
    metric = Metric("Mattes", one, others["T1w"], parameter=_BINS)
    stage = Stage("SyN[0.2,3,0]", [metric], options.warp_iterations, shrink, [factor - 1.0 for factor in shrink])
    found = Search([stage]).run(folder, "warp")
    moved = {name: load_ants().apply_transforms(one, other, found.forward) for name, other in others.items()}
    return {name: fixed.like(image.numpy().astype(np.float32)) for name, image in moved.items()}


def _box(inside: np.ndarray) -> tuple[slice, slice, slice]:
    """The brain's bounding box with a rim."""
    places = np.argwhere(inside)
    first, last = np.maximum(places.min(axis=0) - _RIM, 0), places.max(axis=0) + 1 + _RIM
    return tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))  # type: ignore[return-value]


def _cut(volume: Volume, box: tuple[slice, slice, slice]) -> Volume:
    affine = volume.affine.copy()
    affine[:3, 3] = (volume.affine @ [*(side.start for side in box), 1.0])[:3]
    return Volume(volume.data[box], affine)


def _put_back(data: np.ndarray, box: tuple[slice, slice, slice], shape: tuple[int, int, int]) -> np.ndarray:
    whole = np.zeros(shape, dtype=np.float32)
    whole[box] = data
    return whole


def _atropos(volumes: list[Volume], mask: Volume, priors: list[np.ndarray], options: TissueOptions) -> list[np.ndarray]:
    inside = mask.data > 0
    # Atropos reads the priors from files, whose geometry is rounded, and insists on one geometry for all: give it one
    # that survives rounding. Only the voxels' size matters to it.
    affine = np.diag([*(np.maximum(np.rint(np.array(mask.spacing) * 64), 1) / 64), 1.0])
    with scratch() as folder:
        posterior = atropos(
            [to_ants(Volume(_scaled(volume.data, inside), affine)) for volume in volumes],
            to_ants(Volume(inside.astype(np.uint8), affine)),
            [to_ants(Volume(prior, affine)) for prior in priors],
            folder,
            prior_weight=options.prior_weight,
            smoothing=options.smoothing,
            iterations=options.iterations,
        )
    shares = np.stack(posterior) * inside
    total = shares.sum(axis=0)
    # Where no class explains a voxel (a lesion brighter than any tissue), the priors decide.
    lost = inside & (total < _UNEXPLAINED)
    shares[:, lost] = np.stack(priors)[:, lost]
    shares /= np.maximum(shares.sum(axis=0), _UNEXPLAINED)
    return [share.astype(np.float32) for share in shares]


def mixed(shares: Sequence[np.ndarray], images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Share out what two neighbouring tissues hold of a voxel by where its intensity lies between theirs.

    Atropos gives a voxel the wider class: the rim of the cortex, half grey matter, half fluid, becomes fluid. Here
    the sum of two tissues' shares stays, CSF with GM first, then GM with WM, and is split linearly (as in Shattuck et
    al. 2001, doi:10.1006/nimg.2000.0730), averaged over the images.

    Args:
        shares: CSF, GM, WM, of one shape, summing to 1 in the brain.
        images: of the same shape.

    Returns:
        the three shares anew, with the same sum.
    """
    result = [share.copy() for share in shares]
    for one, other in ((0, 1), (1, 2)):
        both = result[one] + result[other]
        part = _between(shares[one], shares[other], images)
        if part is not None:
            result[one], result[other] = both * part, both * (1 - part)
    return result


def _between(one: np.ndarray, other: np.ndarray, images: Sequence[np.ndarray]) -> np.ndarray | None:
    """The first tissue's part of a mixture of two, by intensity: 0 to 1; None where one of them is nowhere pure."""
    first, second = _pure(one), _pure(other)
    if first.sum() < _FEW or second.sum() < _FEW:
        return None
    parts = []
    for image in images:
        b = float(np.median(image[second]))
        # Half of the fluid's voxels are rim themselves: the fluid's own intensity lies farther out.
        darker = np.median(image[first]) < b
        a = float(np.percentile(image[first], _OUTER if darker else 100 - _OUTER))
        if a != b:
            parts.append(np.clip((b - image) / (b - a), 0, 1))
    return np.mean(parts, axis=0).astype(np.float32) if parts else None


def _pure(share: np.ndarray) -> np.ndarray:
    present = share > _PRESENT
    return present & (share > np.median(share[present])) if present.any() else present


def _scaled(data: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Standard deviation 100 in the mask: Atropos takes a covariance whose determinant is below 1e-6 for singular."""
    return np.where(inside, data * (_SPREAD / max(float(data[inside].std()), _UNEXPLAINED)), 0)


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
    volume = Volume(np.asarray(image.dataobj, dtype=np.float32), np.asarray(image.affine))  # type: ignore[attr-defined]
    volume = volume.like(volume.data / volume.data.max())
    shape = tuple(
        int(np.ceil(count * size / spacing_mm)) for count, size in zip(volume.shape, volume.spacing, strict=True)
    )
    scale = np.diag([*(spacing_mm / np.array(volume.spacing)), 1.0])
    return resample(volume, shape, volume.affine @ scale)  # type: ignore[arg-type]


def _in_mask(volume: Volume, inside: np.ndarray) -> Volume:
    """The volume, 0 outside the brain and at least 0 inside (a centre of mass takes no negative weights)."""
    values = volume.data[inside]
    low, top = min(float(values.min()), 0.0), np.percentile(values, _TOP_PERCENTILE)
    return volume.like(np.where(inside, np.minimum(volume.data, top) - low, 0).astype(np.float32))


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
