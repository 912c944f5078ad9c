"""A multivariate group template: the training studies' average in their mean shape.

Studies are loaded where they are worked on and leave their warped images in files, so that neither this process nor a
worker holds more than one study at a time, however many there are.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from lesionlab.errors import InputError
from lesionlab.imaging.anatomy import averaging
from lesionlab.imaging.anatomy.atlas import AtlasOptions, metric_sequences
from lesionlab.imaging.anatomy.warped_study import (
    BRAIN,
    FIELD,
    WEIGHT,
    Frame,
    Placed,
    Studies,
    Target,
    Task,
    frame_of,
    warp_study,
)
from lesionlab.imaging.volume import Volume

#: Calls a function with each of some named tasks, in any order and wherever; yields name and result.
Each = Callable[[Callable[[Any], Any], Mapping[str, Any]], Iterable[tuple[str, Any]]]

_RIM_MM = 12.0
_MAJORITY = 0.5  # of the brains: where the template's brain ends
_LPS_TO_RAS = (-1.0, -1.0, 1.0)


@dataclass(frozen=True)
class Template:
    """A group template.

    Attributes:
        volumes: per sequence, float32, axes R, A, S, origin in the brain's middle; background as in the studies.
        qc: ``studies``, ``rounds``, and for each round n of registration (0: affine; from 1 on: SyN)
            ``round_<n>_correlation`` (mean over studies of the warped study with the template of the round before,
            first metric sequence, within the template's brain), ``round_<n>_overlap`` (Dice of the brains, mean),
            ``round_<n>_change`` (root mean square difference to the template before, over its root mean square,
            background 0), and where there was a warp ``round_<n>_warp_mm`` (mean displacement),
            ``round_<n>_jacobian_low`` and ``round_<n>_jacobian_high`` (least and greatest change of volume).
    """

    volumes: dict[str, Volume]
    qc: dict[str, float]


def in_turn(work: Callable[[Any], Any], tasks: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Call ``work`` with one task after another, in this process."""
    for name, task in tasks.items():
        yield name, work(task)


def build_template(
    studies: Studies, options: AtlasOptions, *, each: Each = in_turn, folder: Path | None = None
) -> Template:
    """Average the training studies in their mean shape, all sequences at once (Avants et al. 2010,
    doi:10.1016/j.neuroimage.2009.09.062).

    An affine round against the average of the centred brains gives a first template; each further round registers
    every study to it by SyN, averages, and takes part of the mean warp back, so that the template drifts towards the
    group's mean shape. A study's voxels outside its brain and in its lesion count as ``options`` say, not at all by
    default.

    Args:
        studies: the same sequences in each, each study on its own grid.
        options: see :class:`~lesionlab.imaging.anatomy.atlas.AtlasOptions`.
        each: spreads the work over processes; the result is the same.
        folder: for files on the way, about 4 bytes per voxel of the template, study and sequence; every worker must
            see it. A temporary folder by default.

    Raises:
        InputError: there is no study, a study lacks a sequence of the first one, or a lesion mask does not fit.
    """
    _check_any(studies)
    with tempfile.TemporaryDirectory(prefix="lesionlab-template-", dir=folder) as place:
        return _Building(studies, options, each, Path(place)).run()


@dataclass
class _Building:
    """A template under construction."""

    studies: Studies
    options: AtlasOptions
    each: Each
    folder: Path
    frames: dict[str, Frame] = field(default_factory=dict)
    qc: dict[str, float] = field(default_factory=dict)

    def run(self) -> Template:
        self.frames = self._frames()
        target = _target(list(self.frames.values()), self.options.grid_mm)
        template = self._average(self._warp(target, {}, deform=False), target, None)
        placed: dict[str, Placed] = {}
        for round_ in range(self.options.iterations + 1):
            here = Target(target.shape, target.affine, self._save(template))
            placed = self._warp(here, placed, deform=round_ > 0)
            before, template = template, self._average(placed, target, template)
            self._report(round_, placed, _change(before, template))
            if round_ > 0 and self.qc[f"round_{round_}_change"] < self.options.tolerance:
                break
        volumes = {name: Volume(data, target.affine) for name, data in template.items()}
        return Template(volumes, {"studies": float(len(self.frames)), "rounds": float(round_)} | self.qc)

    @property
    def names(self) -> tuple[str, ...]:
        """The sequences."""
        return next(iter(self.frames.values())).sequences

    def _frames(self) -> dict[str, Frame]:
        tasks = {name: (self.studies, name) for name in self.studies.names}
        found = dict(self.each(_measure, tasks))
        frames = {name: found[name] for name in tasks}
        _check_alike(frames)
        return frames

    def _place(self, name: str) -> Path:
        return self.folder / str(list(self.frames).index(name))

    def _save(self, template: Mapping[str, np.ndarray]) -> Path:
        np.savez(self.folder / "template.npz", **template)  # type: ignore[arg-type]
        return self.folder / "template.npz"

    def _warp(self, target: Target, before: Mapping[str, Placed], deform: bool) -> dict[str, Placed]:
        """Every study on the template's grid, in the files of its folder."""
        metric = metric_sequences(self.options, self.names)
        tasks = {}
        for name, frame in self.frames.items():
            start = before[name].matrix if name in before else None
            tasks[name] = Task(
                self.studies, name, target, self.options, metric, self._place(name), frame.center, start, deform
            )
        found = dict(self.each(warp_study, tasks))
        return {name: found[name] for name in tasks}

    def _average(
        self, placed: Mapping[str, Placed], target: Target, before: Mapping[str, np.ndarray] | None
    ) -> dict[str, np.ndarray]:
        """The studies' average, moved towards their mean shape; the first one, without ``before``, is a plain mean."""
        options = self.options
        folders = [self._place(name) for name in placed]
        mean_shape = self._mean_shape(placed, target)
        votes = _mean_of(folders, BRAIN, target.shape)
        inside = _sampled(votes, mean_shape) > _MAJORITY
        weights = [folder / WEIGHT for folder in folders]
        kind: averaging.Average = "mean" if before is None else options.average
        sharpen = 0.0 if before is None else options.sharpen
        result = {}
        for name in self.names:
            background = min(frame.background[name] for frame in self.frames.values())
            average = averaging.average([folder / name for folder in folders], weights, target.shape, kind)
            shaped = _sampled(_sharpened(average, sharpen), mean_shape)
            # Sharpening overshoots; below the background it would make the background look like brain.
            result[name] = np.where(inside, np.maximum(shaped, background), background).astype(np.float32)
        return result

    def _mean_shape(self, placed: Mapping[str, Placed], target: Target) -> np.ndarray:
        """Where the mean shape's voxels come from, in voxels, ``(3, X, Y, Z)``: the inverse mean affine, then part of
        the mean warp back."""
        linear = np.linalg.inv(np.mean([one.matrix for one in placed.values()], axis=0))
        points = np.moveaxis(np.indices(target.shape, dtype=np.float64), 0, -1) @ target.affine[:3, :3].T
        points = (points + target.affine[:3, 3]) @ linear[:3, :3].T + linear[:3, 3]
        to_voxel = np.linalg.inv(target.affine)
        places = np.moveaxis(points @ to_voxel[:3, :3].T + to_voxel[:3, 3], -1, 0)
        folders = [self._place(name) for name, one in placed.items() if one.deformed]
        if not folders or self.options.shape_step == 0:
            return places
        back = -self.options.shape_step * _mean_of(folders, FIELD, (*target.shape, 3)) * _LPS_TO_RAS
        moved = np.stack([ndimage.map_coordinates(back[..., axis], places, order=1) for axis in range(3)], -1)
        return places + np.moveaxis(moved @ to_voxel[:3, :3].T, -1, 0)

    def _report(self, round_: int, placed: Mapping[str, Placed], change: float) -> None:
        measures = [one.qc for one in placed.values()]
        choose = {"jacobian_low": min, "jacobian_high": max}
        for name in measures[0]:
            values = [one[name] for one in measures]
            self.qc[f"round_{round_}_{name}"] = float(choose.get(name, np.mean)(values))
        self.qc[f"round_{round_}_change"] = change


def _measure(task: tuple[Studies, str]) -> Frame:
    studies, name = task
    return frame_of(studies.load(name))


def _target(frames: Sequence[Frame], grid_mm: float | None) -> Target:
    """An upright grid that holds each brain with a rim."""
    spacing = np.median([frame.spacing for frame in frames], axis=0) if grid_mm is None else np.full(3, grid_mm)
    shape = np.ceil((np.max([frame.extent for frame in frames], axis=0) + 2 * _RIM_MM) / spacing).astype(int)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -(shape - 1) / 2 * spacing
    return Target((int(shape[0]), int(shape[1]), int(shape[2])), affine)


def _mean_of(folders: Sequence[Path], name: str, shape: Sequence[int]) -> np.ndarray:
    return averaging.average([folder / name for folder in folders], None, shape)


def _sampled(data: np.ndarray, places: np.ndarray) -> np.ndarray:
    return np.asarray(ndimage.map_coordinates(data, places, order=1, mode="nearest"))


def _sharpened(data: np.ndarray, amount: float) -> np.ndarray:
    return data + amount * (data - ndimage.gaussian_filter(data, 1.0)) if amount else data


def _change(before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]) -> float:
    """Relative distance (L2) of two templates, over all sequences, background at 0."""
    moved = sum(float(((after[name] - data) ** 2).sum(dtype=np.float64)) for name, data in before.items())
    size = sum(float(((data - data.min()) ** 2).sum(dtype=np.float64)) for data in before.values())
    return float(np.sqrt(moved / size))


def _check_any(studies: Studies) -> None:
    if not studies.names:
        raise InputError(
            "there is no study to build a template from",
            given="0 training studies",
            allowed="at least 1",
            cure="correct the split, so that the training part holds a subject",
        )


def _check_alike(frames: Mapping[str, Frame]) -> None:
    first = next(iter(frames.values())).sequences
    for name, frame in frames.items():
        if set(frame.sequences) != set(first):
            raise InputError(
                "the studies of a template differ in their sequences",
                given=", ".join(frame.sequences),
                allowed=", ".join(first),
                cure="leave the incomplete study out, or the sequence",
                subject=name,
            )
