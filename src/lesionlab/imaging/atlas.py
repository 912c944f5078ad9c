"""The atlas: a multivariate group template of the training studies, and its alignment to a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from joblib import Parallel, delayed
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt
from scipy import ndimage

from lesionlab.errors import InputError
from lesionlab.imaging.ants_bridge import load_ants, matrix_from_ants, scratch, to_ants
from lesionlab.imaging.ants_command import Metric, Search, Stage
from lesionlab.imaging.resample import resample, resample_like
from lesionlab.imaging.similarity import correlation
from lesionlab.imaging.volume import Volume

Study = Mapping[str, Volume]

#: Sequences that show anatomy best, for the metric where the options name none.
PREFERENCE = ("T1w", "T2w", "T1ce", "FLAIR")


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
    workers: PositiveInt = Field(1, description="processes")


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
    arrays: dict[str, np.ndarray]
    brain: np.ndarray
    matrix: np.ndarray
    field: np.ndarray | None
    correlation: float


def build_template(studies: Sequence[Study], options: AtlasOptions) -> Template:
    """Average the training studies in their mean shape, all sequences at once (Avants et al. 2010,
    doi:10.1016/j.neuroimage.2009.09.062).

    An affine round against the mean of the centred brains gives a first template; each further round registers
    every study to it by SyN, averages, and takes part of the mean warp back, so that the template drifts towards the
    group's mean shape.

    Args:
        studies: stripped, standardized volumes, the same sequences in each, each study on its own grid. A volume's
            smallest value is its background.
        options: see :class:`AtlasOptions`.

    Raises:
        InputError: there is no study, or a study lacks a sequence of the first one.
    """
    names = _check(studies)
    metric = _metric_sequences(options, studies[0])
    centred = [_centred(study) for study in studies]
    template = _start(centred, names)
    qc = {"studies": float(len(studies))}
    with Parallel(n_jobs=min(options.workers, len(studies))) as parallel:
        for round_ in range(options.iterations + 1):
            deform = round_ > 0
            warped = parallel(delayed(_to_template)(template, study, metric, deform, options) for study in centred)
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
    stages = _linear_stages(volumes, template, metric, options, affine=options.align != "rigid")
    if options.align == "syn":
        stages.append(_deformable_stage(volumes, template, metric, options))
    return _register(volumes, template, metric[0], stages)[0]


def _to_template(
    template: Study, study: Study, metric: Sequence[str], deform: bool, options: AtlasOptions
) -> _Warped:
    stages = _linear_stages(template, study, metric, options, affine=True)
    if deform:
        stages.append(_deformable_stage(template, study, metric, options))
    moved, matrix, field = _register(template, study, metric[0], stages)
    inside = _brain(template)
    return _Warped(
        {name: volume.data for name, volume in moved.items()},
        _brain(moved),
        matrix,
        field,
        correlation(moved[metric[0]].data, template[metric[0]].data, inside),
    )


def _register(
    fixed: Study, moving: Study, anchor: str, stages: list[Stage]
) -> tuple[dict[str, Volume], np.ndarray, np.ndarray | None]:
    """All of ``moving`` on the grid of ``fixed``, the linear part, and the warp ``(X, Y, Z, 3)`` in LPS mm."""
    grid = fixed[anchor]
    with scratch() as folder:
        found = Search(stages).run(folder)
        moved = {name: grid.like(_transformed(volume, grid, found.forward)) for name, volume in moving.items()}
        field = None if found.warp is None else load_ants().image_read(found.warp).numpy().astype(np.float32)
        return moved, matrix_from_ants(found.linear), field


def _transformed(volume: Volume, grid: Volume, transforms: list[str]) -> np.ndarray:
    """The voxels of ``volume`` on the grid, its own background outside its field of view."""
    # ANTs takes a negative fill value for a flag, so the background is 0 while it works.
    background = float(volume.data.min())
    lifted = volume.like((volume.data - background).astype(np.float32))
    moved = load_ants().apply_transforms(to_ants(grid), to_ants(lifted), transforms)
    return moved.numpy().astype(np.float32) + np.float32(background)


def _linear_stages(
    fixed: Study, moving: Study, metric: Sequence[str], options: AtlasOptions, *, affine: bool
) -> list[Stage]:
    terms = [
        Metric("Mattes", to_ants(fixed[name]), to_ants(moving[name]), 1 / len(metric), 32, _SAMPLING) for name in metric
    ]
    kinds = ("Rigid[0.1]", "Affine[0.1]") if affine else ("Rigid[0.1]",)
    shrink, smoothing = _pyramid(len(options.affine_iterations), finest=2)
    return [
        Stage(kind, terms, options.affine_iterations, shrink, smoothing, threshold=1e-5, window=5) for kind in kinds
    ]


def _deformable_stage(fixed: Study, moving: Study, metric: Sequence[str], options: AtlasOptions) -> Stage:
    weight, parameter = 1 / len(metric), _PARAMETERS[options.syn_metric]
    terms = [
        Metric(options.syn_metric, to_ants(fixed[name]), to_ants(moving[name]), weight, parameter) for name in metric
    ]
    shrink, smoothing = _pyramid(len(options.syn_iterations), finest=1)
    return Stage("SyN[0.2,3,0]", terms, options.syn_iterations, shrink, smoothing)


def _pyramid(levels: int, finest: int) -> tuple[list[int], list[float]]:
    shrink = [finest * 2 ** (levels - 1 - level) for level in range(levels)]
    return shrink, [float(factor - 1) for factor in shrink]


def _next(template: dict[str, Volume], warped: Sequence[_Warped], options: AtlasOptions) -> dict[str, Volume]:
    """The studies' average on the template's grid, moved towards the group's mean shape."""
    combine = np.median if options.average == "median" else np.mean
    brain = np.mean([one.brain for one in warped], axis=0)
    linear = np.linalg.inv(np.mean([one.matrix for one in warped], axis=0))
    fields = [one.field for one in warped if one.field is not None]
    field = np.mean(fields, axis=0) if fields else None
    inside = _shape_update(template, brain, linear, field, options) > 0.5
    result = {}
    for name, volume in template.items():
        background = float(volume.data.min())
        average = combine(np.stack([one.arrays[name] for one in warped]), axis=0).astype(np.float32)
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


_SAMPLING = 0.25
_PARAMETERS = {"Mattes": 32, "CC": 2, "MeanSquares": 0}  # bins; radius in voxels; none
_RIM_MM = 12.0
