"""The atlas: a multivariate group template of the training studies, and its alignment to a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from joblib import Parallel, delayed
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt
from scipy import ndimage

from lesionlab.errors import InputError
from lesionlab.imaging.multivariate import Registered, Study, deformable_stage, linear_stages, register_studies
from lesionlab.imaging.resample import resample, resample_like
from lesionlab.imaging.similarity import correlation
from lesionlab.imaging.volume import Volume

#: Sequences that show anatomy best, for the metric where the options name none.
PREFERENCE = ("T1w", "T2w", "T1ce", "FLAIR")

_RIM_MM = 12.0


class AtlasOptions(BaseModel):
    """How the template is built and aligned."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(True, description="off: no template")
    metric_sequences: tuple[str, ...] | None = Field(None, description="null: two of T1w, T2w, T1ce, FLAIR")
    iterations: NonNegativeInt = Field(2, description="rounds of registration and averaging after the affine one")
    affine_iterations: tuple[NonNegativeInt, ...] = Field((100, 50), description="per level from coarse to fine")
    syn_iterations: tuple[NonNegativeInt, ...] = Field(
        (40, 30, 0), description="per level from coarse to fine, the last at full resolution"
    )
    syn_metric: Literal["Mattes", "CC", "MeanSquares"] = Field("Mattes", description="CC takes ten times as long")
    shape_step: float = Field(0.25, ge=0, le=1, description="share of the mean warp taken back in each round")
    average: Literal["mean", "median"] = Field("median", description="median: one study's lesion leaves no trace")
    sharpen: float = Field(0.25, ge=0, description="weight of the unsharp mask after averaging; 0: none")
    align: Literal["none", "rigid", "affine", "syn"] = Field("affine", description="template to a study")


@dataclass(frozen=True)
class Template:
    """A group template.

    Attributes:
        volumes: per sequence, float32, axes R, A, S, origin in the brain's middle; background as in the studies.
        qc: ``studies``, ``round_<n>_correlation`` (mean over studies of the warped study with the template of the
            round before, first metric sequence, within the template's brain).
    """

    volumes: dict[str, Volume]
    qc: dict[str, float]


@dataclass(frozen=True)
class AlignedTemplate:
    """The template on a study's grid.

    Attributes:
        volumes: per sequence of the template, float32.
        qc: ``<sequence>_correlation`` with the study within the study's brain.
    """

    volumes: dict[str, Volume]
    qc: dict[str, float]


@dataclass(frozen=True)
class _Warped:
    """A study on the template's grid, its brain there, and its correlation with the template."""

    found: Registered
    brain: np.ndarray
    correlation: float


def build_template(studies: Sequence[Study], options: AtlasOptions, workers: int = 1) -> Template:
    """Average the training studies in their mean shape, all sequences at once (Avants et al. 2010,
    doi:10.1016/j.neuroimage.2009.09.062).

    An affine round against the mean of the centred brains gives a first template; each further round registers
    every study to it by SyN, averages, and takes part of the mean warp back, so that the template drifts towards the
    group's mean shape.

    Args:
        studies: stripped, standardized volumes, the same sequences in each, each study on its own grid. A volume's
            smallest value is its background.
        options: see :class:`AtlasOptions`.
        workers: processes that the registrations of a round are spread over.

    Raises:
        InputError: there is no study, or a study lacks a sequence of the first one.
    """
    names = _check(studies)
    metric = _metric_sequences(options, studies[0])
    centred = [_centred(study) for study in studies]
    template = _start(centred, names)
    qc = {"studies": float(len(studies))}
    starts: list[np.ndarray | None] = [None] * len(studies)
    with Parallel(n_jobs=min(workers, len(studies)), max_nbytes=None) as parallel:
        for round_ in range(options.iterations + 1):
            warped = parallel(
                delayed(_to_template)(template, study, metric, start, options)
                for study, start in zip(centred, starts, strict=True)
            )
            starts = [one.found.matrix for one in warped]
            qc[f"round_{round_}_correlation"] = float(np.mean([one.correlation for one in warped]))
            template = _next(template, warped, options)
    return Template(template, qc)


def align_template(template: Study, volumes: Study, options: AtlasOptions) -> AlignedTemplate:
    """Bring the template to a study's grid.

    Args:
        template: as :func:`build_template` gives it.
        volumes: the study's stripped, standardized volumes on one grid.
        options: ``align`` says how: ``none`` only centres the template on the study's brain.

    Raises:
        InputError: template and study share no sequence.
    """
    metric = _metric_sequences(options, {name: volumes[name] for name in template if name in volumes})
    anchor = volumes[metric[0]]
    shift = _brain_center(volumes) - _brain_center(template)
    moved = {name: Volume(volume.data, _translate(shift) @ volume.affine) for name, volume in template.items()}
    if options.align == "none":
        aligned = {name: _moved(volume, anchor) for name, volume in moved.items()}
    else:
        aligned = _aligned(moved, volumes, metric, options)
    brain = _brain(volumes)
    qc = {
        f"{name}_correlation": correlation(aligned[name].data, volumes[name].data, brain)
        for name in aligned
        if name in volumes
    }
    return AlignedTemplate(aligned, qc)


def _aligned(template: Study, volumes: Study, metric: Sequence[str], options: AtlasOptions) -> dict[str, Volume]:
    kinds = ("Rigid",) if options.align == "rigid" else ("Rigid", "Affine")
    stages = linear_stages(volumes, template, metric, options.affine_iterations, kinds)
    if options.align == "syn":
        stages.append(deformable_stage(volumes, template, metric, options.syn_iterations, options.syn_metric))
    return register_studies(volumes, template, metric[0], stages).volumes


def _to_template(
    template: Study, study: Study, metric: Sequence[str], start: np.ndarray | None, options: AtlasOptions
) -> _Warped:
    """One study on the template's grid: affine in the first round; from there on, by SyN."""
    kinds = ("Rigid", "Affine") if start is None else ("Affine",)
    stages = linear_stages(template, study, metric, options.affine_iterations, kinds)
    if start is not None:
        stages.append(deformable_stage(template, study, metric, options.syn_iterations, options.syn_metric))
    found = register_studies(template, study, metric[0], stages, start)
    alike = correlation(found.volumes[metric[0]].data, template[metric[0]].data, _brain(template))
    return _Warped(found, _brain(found.volumes), alike)


def _next(template: dict[str, Volume], warped: Sequence[_Warped], options: AtlasOptions) -> dict[str, Volume]:
    """The studies' average on the template's grid, moved towards the group's mean shape."""
    combine = np.median if options.average == "median" else np.mean
    brain = np.mean([one.brain for one in warped], axis=0)
    linear = np.linalg.inv(np.mean([one.found.matrix for one in warped], axis=0))
    fields = [one.found.field for one in warped if one.found.field is not None]
    field = np.mean(fields, axis=0) if fields else None
    inside = _shape_update(template, brain, linear, field, options) > 0.5
    result = {}
    for name, volume in template.items():
        background = float(volume.data.min())
        average = combine(np.stack([one.found.volumes[name].data for one in warped]), axis=0).astype(np.float32)
        shaped = _sharpened(_shape_update(template, average, linear, field, options), options.sharpen)
        # Sharpening overshoots; below the background it would make the background look like brain.
        shaped = np.maximum(shaped, background)
        result[name] = volume.like(np.where(inside, shaped, background).astype(np.float32))
    return result


def _shape_update(
    template: Study, data: np.ndarray, linear: np.ndarray, field: np.ndarray | None, options: AtlasOptions
) -> np.ndarray:
    """Sample ``data`` where the mean shape's voxels come from: the inverse mean affine, then part of the warp back."""
    volume = next(iter(template.values()))
    points = np.moveaxis(np.indices(volume.shape, dtype=np.float64), 0, -1) @ volume.affine[:3, :3].T
    points = (points + volume.affine[:3, 3]) @ linear[:3, :3].T + linear[:3, 3]
    to_voxel = np.linalg.inv(volume.affine)
    places = points @ to_voxel[:3, :3].T + to_voxel[:3, 3]
    if field is not None:
        back = -options.shape_step * field * (-1.0, -1.0, 1.0)
        moved = np.stack(
            [ndimage.map_coordinates(back[..., axis], np.moveaxis(places, -1, 0), order=1) for axis in range(3)], -1
        )
        places = places + moved @ to_voxel[:3, :3].T
    return ndimage.map_coordinates(data, np.moveaxis(places, -1, 0), order=1, mode="nearest")


def _sharpened(data: np.ndarray, amount: float) -> np.ndarray:
    return data + amount * (data - ndimage.gaussian_filter(data, 1.0))


def _start(studies: Sequence[Study], names: Sequence[str]) -> dict[str, Volume]:
    """The mean of the centred studies, on an upright grid that holds each brain with a rim."""
    spacing = np.median([study[names[0]].spacing for study in studies], axis=0)
    extents = [_brain_extent(study) for study in studies]
    shape = np.ceil((np.max(extents, axis=0) + 2 * _RIM_MM) / spacing).astype(int)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -(shape - 1) / 2 * spacing
    size = (int(shape[0]), int(shape[1]), int(shape[2]))
    return {
        name: Volume(np.mean([_on(study[name], size, affine) for study in studies], axis=0), affine) for name in names
    }


def _on(volume: Volume, shape: tuple[int, int, int], affine: np.ndarray) -> np.ndarray:
    return resample(volume, shape, affine, fill=float(volume.data.min())).data


def _moved(volume: Volume, target: Volume) -> Volume:
    return resample_like(volume, target, fill=float(volume.data.min()))


def _centred(study: Study) -> dict[str, Volume]:
    shift = _translate(-_brain_center(study))
    return {name: Volume(volume.data, shift @ volume.affine) for name, volume in study.items()}


def _brain(volumes: Study) -> np.ndarray:
    return np.any([volume.data > volume.data.min() for volume in volumes.values()], axis=0)


def _brain_center(volumes: Study) -> np.ndarray:
    inside = np.argwhere(_brain(volumes))
    middle = (inside.min(axis=0) + inside.max(axis=0)) / 2
    return (next(iter(volumes.values())).affine @ [*middle, 1.0])[:3]


def _brain_extent(volumes: Study) -> np.ndarray:
    """Size of the brain along R, A and S, mm."""
    affine = next(iter(volumes.values())).affine
    points = np.argwhere(_brain(volumes)) @ affine[:3, :3].T
    return np.ptp(points, axis=0)


def _translate(shift: np.ndarray) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = shift
    return matrix


def _metric_sequences(options: AtlasOptions, volumes: Study) -> list[str]:
    wanted = options.metric_sequences or PREFERENCE
    found = [name for name in wanted if name in volumes]
    if options.metric_sequences is None:
        found = (found or list(volumes))[:2]
    if not found:
        raise InputError(
            "template and study share no sequence to be registered by",
            given=", ".join(volumes) or "none",
            allowed=", ".join(wanted),
            cure="correct `atlas.metric_sequences`",
        )
    return found


def _check(studies: Sequence[Study]) -> list[str]:
    if not studies:
        raise InputError(
            "there is no study to build a template from",
            given="0 training studies",
            allowed="at least 1",
            cure="correct the split, so that the training part holds a subject",
        )
    names = list(studies[0])
    for study in studies:
        if set(study) != set(names):
            raise InputError(
                "the studies of a template differ in their sequences",
                given=", ".join(study),
                allowed=", ".join(names),
                cure="leave the incomplete study out, or the sequence",
            )
    return names
