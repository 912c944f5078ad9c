"""One study on the grid of a group template: what a worker does, from files to files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from lesionlab.errors import InputError
from lesionlab.imaging.anatomy.atlas import AtlasOptions
from lesionlab.imaging.anatomy.averaging import store
from lesionlab.imaging.anatomy.multivariate import (
    Registered,
    deformable_stage,
    displacement_mm,
    jacobian_range,
    linear_stages,
    register_studies,
)
from lesionlab.imaging.anatomy.study_frame import Study, brain_center, brain_extent, brain_of, shifted
from lesionlab.imaging.resample import resample
from lesionlab.imaging.similarity import correlation, dice
from lesionlab.imaging.volume import Volume

BRAIN, WEIGHT, FIELD = "_brain", "_weight", "_field"  # files beside those of the sequences

_LESION = "_lesion"
_COARSER = 1.1  # ratio of voxel sizes
_INSIDE = 0.5  # share of a voxel from which a study's brain says something about it
_TOUCHED = 0.05  # share of a voxel from which a lesion spoils it: interpolation carries it beyond its border


@dataclass(frozen=True)
class Member:
    """A study that a template is made of.

    Attributes:
        volumes: stripped, standardized sequences on one grid; a volume's smallest value is its background.
        lesion: above 0 where there is a lesion, on that grid; None: nothing is known.
    """

    volumes: Study
    lesion: Volume | None = None


class Studies(Protocol):
    """Studies that are loaded one by one. They travel to the workers, so let them hold paths and no volumes."""

    @property
    def names(self) -> Sequence[str]:
        """The studies, in the order in which they are averaged."""
        ...

    def load(self, name: str) -> Member:
        """Read one study."""
        ...


@dataclass(frozen=True)
class Frame:
    """What is to be known of a study before there is a template's grid.

    Attributes:
        sequences: their names.
        center: of the brain, RAS mm.
        extent: of the brain, mm.
        spacing: voxel size, mm.
        background: of each sequence.
    """

    sequences: tuple[str, ...]
    center: np.ndarray
    extent: np.ndarray
    spacing: tuple[float, float, float]
    background: dict[str, float]


@dataclass(frozen=True)
class Target:
    """A template's grid, and the template as it stands.

    Attributes:
        shape: ``(X, Y, Z)``.
        affine: ``(4, 4)``, voxel -> RAS mm.
        file: of the template's volumes (``numpy.savez``); None: there is no template yet.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    file: Path | None = None

    def volumes(self) -> dict[str, Volume]:
        """The template's volumes; none where there is no template yet."""
        if self.file is None:
            return {}
        with np.load(self.file) as arrays:
            return {name: Volume(arrays[name], self.affine) for name in arrays.files}


@dataclass(frozen=True)
class Task:
    """One study to be warped.

    Attributes:
        studies: all of them.
        name: which one.
        target: where to.
        options: of the atlas.
        metric: sequences that are compared.
        folder: where its files go.
        center: of its brain, RAS mm.
        start: linear part found in the round before, ``(4, 4)``; None in the first one, which is affine.
        deform: whether a SyN stage follows the affine one.
    """

    studies: Studies
    name: str
    target: Target
    options: AtlasOptions
    metric: Sequence[str]
    folder: Path
    center: np.ndarray
    start: np.ndarray | None
    deform: bool


@dataclass(frozen=True)
class Placed:
    """How a study came to the template.

    Attributes:
        matrix: ``(4, 4)``, the linear part, RAS mm of the template -> of the centred study.
        deformed: whether a warp lies in the task's folder.
        qc: ``correlation`` (first sequence of the metric, in the template's brain), ``overlap`` (Dice of the brains),
            ``warp_mm`` (mean displacement in the template's brain), ``jacobian_low`` and ``jacobian_high``; the last
            three only where there was a warp.
    """

    matrix: np.ndarray
    deformed: bool
    qc: dict[str, float]


def frame_of(member: Member) -> Frame:
    """Measure a study; raises ``InputError`` where the lesion lies on another grid."""
    first = next(iter(member.volumes.values()))
    if member.lesion is not None and member.lesion.shape != first.shape:
        raise InputError(
            "the lesion mask lies on another grid than the scans",
            given=f"shape {member.lesion.shape}",
            allowed=f"shape {first.shape}",
            cure="bring mask and scans to one grid first",
        )
    background = {name: float(volume.data.min()) for name, volume in member.volumes.items()}
    volumes = member.volumes
    return Frame(tuple(volumes), brain_center(volumes), brain_extent(volumes), first.spacing, background)


def warp_study(task: Task) -> Placed:
    """Bring a study to the template's grid, and write its sequences, its brain, its weights and the warp."""
    member = task.studies.load(task.name)
    layers = _centred(member, task)
    template = task.target.volumes()
    found = _register(template, layers, task) if template else _centred_only(layers, task.target)
    _write(found, member, task)
    if not template:
        return Placed(found.matrix, False, {})
    qc = _measures(found, template, task)
    return Placed(found.matrix, found.field is not None, qc)


def _centred(member: Member, task: Task) -> dict[str, Volume]:
    """Sequences, brain and lesion with the brain in the world's middle; coarser where the template is."""
    first = next(iter(member.volumes.values()))
    layers = {**member.volumes, BRAIN: first.like(brain_of(member.volumes).astype(np.float32))}
    if member.lesion is not None:
        layers[_LESION] = member.lesion.like((member.lesion.data > 0).astype(np.float32))
    return {name: _coarsened(volume, task.target) for name, volume in shifted(layers, -task.center).items()}


def _coarsened(volume: Volume, target: Target) -> Volume:
    """The volume with voxels no finer than the template's: ANTs' interpolation skips what lies between."""
    size = np.array(volume.spacing)
    factor = np.maximum(np.linalg.norm(target.affine[:3, :3], axis=0).min() / size, 1)
    if (factor < _COARSER).all():
        return volume
    shape = np.ceil(np.array(volume.shape) / factor).astype(int)
    affine = volume.affine @ np.diag([*factor, 1.0])
    affine[:3, 3] = (volume.affine @ [*((factor - 1) / 2), 1.0])[:3]  # the outer borders stay where they are
    fill = float(volume.data.min())
    return resample(volume, (int(shape[0]), int(shape[1]), int(shape[2])), affine, fill=fill)


def _centred_only(layers: Study, target: Target) -> Registered:
    moved = {
        name: resample(volume, target.shape, target.affine, fill=float(volume.data.min()))
        for name, volume in layers.items()
    }
    return Registered(moved, np.eye(4), None)


def _register(template: Study, layers: Study, task: Task) -> Registered:
    """Rigidly and affinely in the first round; affinely from its result in the next ones, then by SyN."""
    options, metric = task.options, task.metric
    kinds = ("Rigid", "Affine") if task.start is None else ("Affine",)
    stages = linear_stages(template, layers, metric, options.affine_iterations, kinds)
    if task.deform:
        stages.append(deformable_stage(template, layers, metric, options.syn_iterations, options.syn_metric))
    usable = None
    if _LESION in layers:
        lesion = layers[_LESION]
        usable = lesion.like((lesion.data < _INSIDE).astype(np.float32))
    return register_studies(template, layers, metric[0], stages, task.start, moving_mask=usable)


def _write(found: Registered, member: Member, task: Task) -> None:
    """Undo what the background's voxels took from the brain's rim: every brain counts for what it holds of a voxel."""
    task.folder.mkdir(parents=True, exist_ok=True)
    share = np.clip(found.volumes[BRAIN].data, 0, 1)
    for name in member.volumes:
        data = found.volumes[name].data
        background = np.float32(member.volumes[name].data.min())
        whole = (data - background) / np.maximum(share, _INSIDE) + background
        store(whole, task.folder / name)
    weight = np.where(share >= _INSIDE, share, 0)
    if _LESION in found.volumes:
        weight = np.where(found.volumes[_LESION].data > _TOUCHED, task.options.lesion_weight, 1) * weight
    store(weight, task.folder / WEIGHT)
    store(share, task.folder / BRAIN)
    if found.field is not None:
        store(found.field, task.folder / FIELD)


def _measures(found: Registered, template: Study, task: Task) -> dict[str, float]:
    inside, brain = brain_of(template), found.volumes[BRAIN].data >= _INSIDE
    name = task.metric[0]
    qc = {
        "correlation": correlation(found.volumes[name].data, template[name].data, inside),
        "overlap": dice(brain, inside),
    }
    if found.field is not None:
        low, high = jacobian_range(found.field, task.target.affine, inside)
        qc |= {"warp_mm": displacement_mm(found.field, inside), "jacobian_low": low, "jacobian_high": high}
    return qc
