"""The atlas at a study's position: the group template, or one of an earlier run, aligned with the study."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt
from scipy import ndimage

from lesionlab.errors import InputError
from lesionlab.imaging.anatomy.multivariate import (
    Registered,
    deformable_stage,
    jacobian_range,
    linear_stages,
    register_studies,
)
from lesionlab.imaging.anatomy.study_frame import Study, brain_center, brain_of, shifted
from lesionlab.imaging.formats.nifti import read_volume
from lesionlab.imaging.resample import resample_like
from lesionlab.imaging.similarity import correlation, dice
from lesionlab.imaging.volume import Volume, same_grid

#: Sequences that show anatomy best, for the metric where the options name none.
PREFERENCE = ("T1w", "T2w", "T1ce", "FLAIR")

_BRAIN = "_brain"
_SUFFIX = ".nii.gz"
_HALF = 0.5  # share of a voxel from which the template's brain says something about it


class AtlasOptions(BaseModel):
    """How the template is built and aligned."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(True, description="off: no template")
    template: Path | None = Field(
        None, description="folder with <sequence>.nii.gz of an earlier run, used as it is; null: the training studies'"
    )
    metric_sequences: tuple[str, ...] | None = Field(None, description="null: two of T1w, T2w, T1ce, FLAIR")
    grid_mm: float | None = Field(None, gt=0, description="voxel size of the template; null: as the studies have it")
    iterations: NonNegativeInt = Field(2, description="rounds of SyN and averaging after the affine one, at most")
    tolerance: float = Field(0, ge=0, description="relative change of the template below which the rounds end")
    affine_iterations: tuple[NonNegativeInt, ...] = Field((100, 50), description="per level from coarse to fine")
    syn_iterations: tuple[NonNegativeInt, ...] = Field(
        (40, 30, 0), description="per level from coarse to fine, the last at full resolution"
    )
    syn_metric: Literal["Mattes", "CC", "MeanSquares"] = Field("Mattes", description="CC takes ten times as long")
    shape_step: float = Field(0.25, ge=0, le=1, description="share of the mean warp taken back in each round")
    average: Literal["mean", "median"] = Field("median", description="median: one study's lesion leaves no trace")
    sharpen: float = Field(0.25, ge=0, description="weight of the unsharp mask after averaging; 0: none")
    lesion_weight: float = Field(
        0, ge=0, le=1, description="of a study's lesion voxels in the average; 0: left out, 1: as any other"
    )
    align: Literal["none", "rigid", "affine", "syn"] = Field("affine", description="template to a study")
    fill: bool = Field(True, description="the aligned template goes on to the border of the study's brain")


@dataclass(frozen=True)
class AlignedTemplate:
    """The template on a study's grid.

    Attributes:
        volumes: per sequence of the template, float32.
        qc: ``<sequence>_correlation`` with the study within the study's brain, lesion left out; ``brain_overlap``
            (Dice of the template's brain, before it is filled, with the study's); with ``align: syn``,
            ``jacobian_low`` and ``jacobian_high``, least and greatest change of volume.
    """

    volumes: dict[str, Volume]
    qc: dict[str, float]


def load_template(folder: Path, sequences: Sequence[str]) -> dict[str, Volume]:
    """Read an earlier run's template.

    Args:
        folder: with ``<sequence>.nii.gz`` for each sequence.
        sequences: that are needed.

    Returns:
        those volumes, float32, on one grid.

    Raises:
        InputError: folder or file is missing or unreadable, or the files lie on several grids.
    """
    folder = Path(folder)
    there = sorted(path.name.removesuffix(_SUFFIX) for path in folder.glob(f"*{_SUFFIX}"))
    missing = [name for name in sequences if name not in there]
    if missing or not sequences:
        raise InputError(
            "the given template lacks a sequence" if folder.is_dir() else "the given template's folder does not exist",
            given=", ".join(there) or "no *.nii.gz",
            allowed=", ".join(f"{name}{_SUFFIX}" for name in sequences),
            cure="name in `atlas.template` the folder of a template of all sequences, or null to build one",
            file=folder,
        )
    volumes = {name: read_volume(folder / f"{name}{_SUFFIX}") for name in sequences}
    first = volumes[sequences[0]]
    for name, volume in volumes.items():
        if not same_grid(volume, first):
            raise InputError(
                "the given template's sequences lie on several grids",
                given=f"{name}: shape {volume.shape}",
                allowed=f"shape {first.shape} at the places of {sequences[0]}",
                cure="bring them to one grid, or null in `atlas.template` to build one",
                file=folder / f"{name}{_SUFFIX}",
            )
    return volumes


def align_template(
    template: Study, volumes: Study, options: AtlasOptions, lesion: Volume | None = None
) -> AlignedTemplate:
    """Bring the template to a study's grid.

    Args:
        template: as :func:`~lesionlab.imaging.anatomy.group_template.build_template` gives it.
        volumes: the study's stripped, standardized volumes on one grid.
        options: ``align`` says how: ``none`` only centres the template on the study's brain.
        lesion: above 0 where the study has a lesion, which the registration then does not look at.

    Raises:
        InputError: template and study share no sequence.
    """
    metric = metric_sequences(options, [name for name in template if name in volumes])
    brain = brain_of(volumes)
    normal = np.ones(brain.shape, dtype=bool) if lesion is None else lesion.data <= 0
    layers = dict(template)
    layers[_BRAIN] = next(iter(template.values())).like(brain_of(template).astype(np.float32))
    moved = shifted(layers, brain_center(volumes) - brain_center(template))
    found = _aligned(moved, volumes, metric, normal, options)
    share = found.volumes.pop(_BRAIN).data
    aligned = _at_home(found.volumes, share, brain) if options.fill else found.volumes
    qc = {
        f"{name}_correlation": correlation(volume.data, volumes[name].data, brain & normal)
        for name, volume in aligned.items()
        if name in volumes
    }
    qc["brain_overlap"] = dice(share >= _HALF, brain)
    if found.field is not None:
        low, high = jacobian_range(found.field, volumes[metric[0]].affine, brain)
        qc |= {"jacobian_low": low, "jacobian_high": high}
    return AlignedTemplate(aligned, qc)


def _aligned(
    template: Study, volumes: Study, metric: Sequence[str], normal: np.ndarray, options: AtlasOptions
) -> Registered:
    anchor = volumes[metric[0]]
    if options.align == "none":
        moved = {
            name: resample_like(volume, anchor, fill=float(volume.data.min())) for name, volume in template.items()
        }
        return Registered(moved, np.eye(4), None)
    kinds = ("Rigid",) if options.align == "rigid" else ("Rigid", "Affine")
    stages = linear_stages(volumes, template, metric, options.affine_iterations, kinds)
    if options.align == "syn":
        stages.append(deformable_stage(volumes, template, metric, options.syn_iterations, options.syn_metric))
    mask = None if normal.all() else anchor.like(normal.astype(np.float32))
    return register_studies(volumes, template, metric[0], stages, fixed_mask=mask)


def _at_home(aligned: Study, share: np.ndarray, brain: np.ndarray) -> dict[str, Volume]:
    """The aligned template without the dark rim of interpolation, carried on to the border of the study's brain."""
    inside = share >= _HALF
    if not inside.any():
        return dict(aligned)
    spacing = next(iter(aligned.values())).spacing
    nearest = ndimage.distance_transform_edt(~inside, sampling=spacing, return_distances=False, return_indices=True)
    reach = brain & ~inside
    result = {}
    for name, volume in aligned.items():
        background = volume.data.min()
        whole = np.where(inside, (volume.data - background) / np.maximum(share, _HALF) + background, background)
        whole[reach] = whole[tuple(nearest[:, reach])]
        result[name] = volume.like(whole.astype(np.float32))
    return result


def metric_sequences(options: AtlasOptions, there: Iterable[str]) -> list[str]:
    """The sequences that are compared, of those that are there.

    Raises:
        InputError: none is.
    """
    names = list(there)
    wanted = options.metric_sequences or PREFERENCE
    found = [name for name in wanted if name in names]
    if options.metric_sequences is None:
        found = (found or names)[:2]
    if not found:
        raise InputError(
            "template and study share no sequence to be registered by",
            given=", ".join(names) or "none",
            allowed=", ".join(wanted),
            cure="correct `atlas.metric_sequences`",
        )
    return found
