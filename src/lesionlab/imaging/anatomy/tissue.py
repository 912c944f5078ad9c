"""Tissue maps: Atropos (Avants et al. 2011, doi:10.1007/s12021-011-9109-y) with priors warped from MNI152."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt
from scipy import ndimage

from lesionlab.errors import InputError
from lesionlab.imaging.anatomy.multivariate import jacobian_range
from lesionlab.imaging.anatomy.partial_volume import mixed
from lesionlab.imaging.ants_bridge import load_ants, matrix_from_ants, scratch, to_ants
from lesionlab.imaging.ants_command import Metric, Search, Stage, atropos
from lesionlab.imaging.mni import mni152
from lesionlab.imaging.resample import resample_like
from lesionlab.imaging.similarity import correlation, dice
from lesionlab.imaging.volume import Volume, same_grid

if TYPE_CHECKING:
    from ants import ANTsImage

TISSUES = ("CSF", "GM", "WM")

_TOP_PERCENTILE = 99.5
_BINS = 32
_SAMPLING = 0.25
_SPREAD = 100.0
_RIM = 3  # voxels
_UNEXPLAINED = 1e-6
_IN_PLANE = ndimage.generate_binary_structure(3, 1) & np.array([False, True, False])
_BACKGROUND = 0.05  # of the template, whose brightest voxel is 1
_PRIOR_FLOOR = 0.01
_PRIOR_BLUR = 0.5  # voxels


class TissueOptions(BaseModel):
    """How tissues are told apart."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(True, description="off: no tissue maps")
    anatomy: tuple[str, ...] = Field(("T1w", "T1ce", "T2w", "FLAIR"), description="MNI152 meets the first one there")
    sequences: tuple[tuple[str, ...], ...] = Field(
        (("T1w",), ("T1ce",), ("T2w", "FLAIR")),
        description="Atropos looks at the first of these groups that has a sequence there; at the anatomy otherwise",
    )
    prior_weight: float = Field(0.25, ge=0, le=1, description="of MNI152's tissue maps against the intensities")
    smoothing: float = Field(0.1, ge=0, description="weight of Atropos' Markov random field")
    iterations: PositiveInt = Field(3, description="of Atropos")
    partial_volume: bool = Field(True, description="share voxels on a border between two tissues by their intensity")
    cortex_outside: bool = Field(
        True, description="no white matter in the brain's outermost pixels, where MNI152 has more grey matter"
    )
    warp_iterations: tuple[NonNegativeInt, ...] = Field((40, 0, 0), description="of SyN, per level; () : affine only")
    template_mm: float = Field(2.0, gt=0, description="voxel size at which MNI152 is used")
    lesion: Literal["classify", "none"] = Field(
        "classify",
        description="classify: a lesion's voxels are tissue as any other; none: no tissue, and left out of everything",
    )


@dataclass(frozen=True)
class Tissues:
    """Tissue maps of a study.

    Attributes:
        maps: ``CSF``, ``GM``, ``WM``: float32 in [0, 1], summing to 1 in the mask, 0 outside; under ``lesion: none``
            also 0 in the lesion.
        qc: ``csf_ml``, ``gm_ml``, ``wm_ml``; of the warped MNI152 with the scan ``template_correlation`` (within the
            brain) and ``template_overlap`` (Dice of the brains); where there was a warp ``jacobian_low`` and
            ``jacobian_high``, its least and greatest change of volume in the brain's box.
    """

    maps: dict[str, Volume]
    qc: dict[str, float]


def segment_tissues(
    volumes: Mapping[str, Volume], mask: Volume, options: TissueOptions, lesion: Volume | None = None
) -> Tissues:
    """Cerebrospinal fluid, grey and white matter of one study.

    Args:
        volumes: stripped, bias-corrected sequences on one grid.
        mask: the brain on that grid, above 0.
        options: see :class:`TissueOptions`.
        lesion: above 0 in the lesion, on that grid; of use under ``lesion: none`` only, since a map that knows the
            lesion's outline tells it to whoever is given the map.

    Raises:
        InputError: none of ``options.anatomy`` is there, mask or lesion lies on another grid, or nothing of the brain
            is without lesion.
    """
    anatomy = _first(options.anatomy, volumes)
    inside = _inside(volumes[anatomy], mask, lesion if options.lesion == "none" else None)
    groups = ([volumes[name] for name in group if name in volumes] for group in options.sequences)
    seen = next((group for group in groups if group), [volumes[anatomy]])
    with scratch() as folder:
        fitted = _fitted_template(volumes[anatomy], mask.data > 0, inside, options, folder)
    posterior = _atropos([_in_mask(volume, inside) for volume in seen], inside, fitted.priors, options)
    if options.partial_volume:
        posterior = mixed(posterior, [volume.data for volume in seen])
    if options.cortex_outside:
        posterior = _without_white_rim(posterior, fitted.priors, mask.data > 0)
    maps = {name: mask.like(share) for name, share in zip(TISSUES, posterior, strict=True)}
    qc = {f"{name.lower()}_ml": float(tissue.data.sum() * tissue.voxel_ml) for name, tissue in maps.items()}
    qc["template_correlation"] = correlation(fitted.scan, volumes[anatomy].data, inside)
    qc["template_overlap"] = dice(fitted.scan > _BACKGROUND, mask.data)
    return Tissues(maps, qc | fitted.qc)


def _inside(scan: Volume, mask: Volume, lesion: Volume | None) -> np.ndarray:
    """The voxels to be shared out: the brain without the lesion."""
    for name, volume in {"brain": mask, "lesion": lesion}.items():
        if volume is not None and not same_grid(volume, scan):
            raise InputError(
                f"the {name} mask lies on another grid than the scans",
                given=f"shape {volume.shape}",
                allowed=f"shape {scan.shape}",
                cure="bring mask and scans to one grid first",
            )
    inside = mask.data > 0 if lesion is None else (mask.data > 0) & (lesion.data <= 0)
    if not inside.any():
        raise InputError(
            "there is no brain outside the lesion",
            given="0 voxels",
            allowed="a brain mask that holds more than the lesion",
            cure="look at both masks",
        )
    return inside


@dataclass(frozen=True)
class _Fitted:
    """MNI152's T1 on the study's grid, priors of CSF, GM and WM there, and the measures of its warp."""

    scan: np.ndarray
    priors: list[np.ndarray]
    qc: dict[str, float]


def _fitted_template(
    volume: Volume, brain: np.ndarray, inside: np.ndarray, options: TissueOptions, folder: Path
) -> _Fitted:
    fixed = _in_mask(volume, brain)
    box = _box(brain)
    near = _cut(fixed, box)
    # The lesion is masked, the background is not: it is the brain's border that the affine part goes by.
    looked_at = None if inside.sum() == brain.sum() else volume.like((inside | ~brain).astype(np.float32))
    template = mni152(options.template_mm)
    matrix = _affine(fixed, template["T1w"], looked_at, folder)
    # From here on the template has the study's thick planes, as the study has, and a twentieth of its voxels.
    moved = {name: resample_like(each, near, matrix=matrix) for name, each in template.items()}
    qc: dict[str, float] = {}
    if any(options.warp_iterations):
        moved, qc = _warped(near, moved, None if looked_at is None else _cut(looked_at, box), options, folder)
    whole = {name: _put_back(each.data, box, volume.shape) for name, each in moved.items()}
    gray, white = (np.clip(whole[name], 0, 1) for name in ("GM", "WM"))
    total = np.maximum(gray + white, 1)
    gray, white = gray / total, white / total
    return _Fitted(whole["T1w"], [_floored(share) * inside for share in (1 - gray - white, gray, white)], qc)


def _affine(fixed: Volume, moving: Volume, mask: Volume | None, folder: Path) -> np.ndarray:
    from ants.internal import get_pointer_string

    one, other = to_ants(fixed), to_ants(moving)
    metric = Metric("Mattes", one, other, parameter=_BINS, sampling=_SAMPLING)
    stages = [
        Stage(kind, [metric], (100, iterations), (4, 2), (4.0, 2.0), threshold=1e-5, window=5)
        for kind, iterations in (("Rigid[0.1]", 0), ("Affine[0.1]", 50))
    ]
    masses = f"[{get_pointer_string(one)},{get_pointer_string(other)},1]"
    found = Search(stages, [masses], None if mask is None else to_ants(mask)).run(folder, "affine")
    assert found.linear is not None
    return matrix_from_ants(found.linear)


def _warped(
    fixed: Volume, moving: Mapping[str, Volume], mask: Volume | None, options: TissueOptions, folder: Path
) -> tuple[dict[str, Volume], dict[str, float]]:
    """``moving`` warped to the study by SyN, and the range of the warp's Jacobian."""
    one, others = to_ants(fixed), {name: to_ants(volume) for name, volume in moving.items()}
    levels = len(options.warp_iterations)
    # A warp is smooth: levels without iterations at the end would only write it down more finely.
    busy = max(level for level in range(levels) if options.warp_iterations[level]) + 1
    shrink = [2 ** (levels - 1 - level) for level in range(busy)]
    metric = Metric("Mattes", one, others["T1w"], parameter=_BINS)
    smoothing = [factor - 1.0 for factor in shrink]
    stage = Stage("SyN[0.2,3,0]", [metric], options.warp_iterations[:busy], shrink, smoothing)
    found = Search([stage], mask=None if mask is None else to_ants(mask)).run(folder, "warp")
    moved = {name: load_ants().apply_transforms(one, other, found.forward) for name, other in others.items()}
    low, high = _jacobian(load_ants().image_read(found.warp), fixed)
    warped = {name: fixed.like(image.numpy().astype(np.float32)) for name, image in moved.items()}
    return warped, {"jacobian_low": low, "jacobian_high": high}


def _jacobian(warp: ANTsImage, fixed: Volume) -> tuple[float, float]:
    """Least and greatest change of volume of a warp that is coarser than the grid it is for."""
    field = warp.numpy()
    own = fixed.affine @ np.diag([*(np.array(warp.spacing) / fixed.spacing), 1.0])
    return jacobian_range(field, own, np.ones(field.shape[:3], dtype=bool))


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


def _atropos(
    volumes: list[Volume], inside: np.ndarray, priors: list[np.ndarray], options: TissueOptions
) -> list[np.ndarray]:
    # Atropos reads the priors from files, whose geometry is rounded, and insists on one geometry for all: give it one
    # that survives rounding. Only the voxels' size matters to it.
    affine = np.diag([*(np.maximum(np.rint(np.array(volumes[0].spacing) * 64), 1) / 64), 1.0])
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
    shares = np.nan_to_num(np.stack(posterior)) * inside
    total = shares.sum(axis=0)
    # Where no class explains a voxel (a lesion brighter than any tissue), the priors decide.
    lost = inside & (total < _UNEXPLAINED)
    shares[:, lost] = np.stack(priors)[:, lost]
    shares /= np.maximum(shares.sum(axis=0), _UNEXPLAINED)
    return [share.astype(np.float32) for share in shares]


def _without_white_rim(
    shares: Sequence[np.ndarray], priors: Sequence[np.ndarray], brain: np.ndarray
) -> list[np.ndarray]:
    """Grey matter for white in the pixels on the brain's border: what lies outside makes them darker or brighter, and
    where fluid is bright (T2w) the darker ones look like white matter."""
    fluid, gray, white = shares
    inner = ndimage.binary_erosion(brain, _IN_PLANE)
    rim = brain & ~inner & (priors[2] < priors[1])
    return [fluid, np.where(rim, gray + white, gray), np.where(rim, 0, white)]


def _scaled(data: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Standard deviation 100 in the mask: Atropos takes a covariance whose determinant is below 1e-6 for singular."""
    return np.where(inside, data * (_SPREAD / max(float(data[inside].std()), _UNEXPLAINED)), 0)


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
