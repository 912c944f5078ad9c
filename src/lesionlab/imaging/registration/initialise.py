"""Where a registration starts.

Mostly the headers or the centres of the two scans say. Where they do not (a head turned by 30 degrees, half of it out
of the field of view), every translation of every coarse turn is tried, by mutual information in the frequency domain
(Öfverstedt et al. 2022, doi:10.1016/j.patrec.2022.05.022).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from scipy import fft, ndimage, optimize

from lesionlab.imaging.registration.head import AIR, TOP_PERCENTILE, center, center_of_mass, head_mask, isotropic
from lesionlab.imaging.registration.pose import make_pair, rigid_matrix
from lesionlab.imaging.resample import resample_like
from lesionlab.imaging.similarity import mutual_information
from lesionlab.imaging.transforms import translation
from lesionlab.imaging.volume import Volume

_EMPTY = 1e-9
_COARSE_MM = 6.0  # for the best of three starts
_FINE_MM = 6.0  # for refining a start
_FINE_BINS = 24
_FINE_SAMPLES = 6000
_FIRST_STEP = 6.0  # degrees and mm, of the search that refines a start
_CLOSE_ENOUGH = 0.3  # degrees and mm
_HEAD_RADIUS_MM = 70.0


class SearchOptions(BaseModel):
    """The search over turns and translations."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    largest_deg: float = Field(60.0, ge=0, le=180, description="turn of one scan against the other, at most")
    step_deg: float = Field(15.0, gt=0, description="between the turns tried")
    reach_mm: float = Field(70.0, gt=0, description="translation, beyond what brings the centres of mass together")
    spacing_mm: float = Field(10.0, gt=0, description="voxel of the search")
    levels: int = Field(5, ge=3, le=16, description="intensities told apart, air among them")
    overlap: float = Field(0.5, gt=0, le=1, description="share of the smaller head that both scans have to see")
    refined: PositiveInt = Field(6, description="starts that are refined, the best first")
    apart_mm: float = Field(20.0, ge=0, description="between two of them, over the head")


def best_of_three(fixed: Volume, moving: Volume) -> np.ndarray:
    """The translation with the highest mutual information on a coarse grid: ``(4, 4)``, fixed -> moving, RAS mm.

    Tried are the scanner's coordinates as the headers give them, the centres of the two fields of view one upon
    another, and the centres of mass one upon another. So neither a header without scanner coordinates nor a field of
    view that reaches into the neck leads a registration astray.
    """
    shifts = (np.zeros(3), center(moving) - center(fixed), center_of_mass(moving) - center_of_mass(fixed))
    coarse = _thinned(fixed)
    scores = []
    for shift in shifts:
        seen = resample_like(moving, coarse, matrix=translation(shift), fill=float(moving.data.min()))
        scores.append(mutual_information(coarse.data, seen.data))
    return translation(shifts[int(np.argmax(scores))])


def searched(fixed: Volume, moving: Volume, options: SearchOptions) -> np.ndarray:
    """The best start of all turns and translations, refined: ``(4, 4)``, fixed -> moving, RAS mm.

    Args:
        fixed: a raw scan; may show a part of the head only.
        moving: likewise.
        options: how far and how finely to search.
    """
    starts = _distinct(_turned_starts(fixed, moving, options), center(fixed), options)
    coarse = isotropic(fixed, _FINE_MM)
    head = head_mask(coarse).data > 0
    pair = make_pair(coarse, isotropic(moving, _FINE_MM), head, _FINE_BINS, _FINE_SAMPLES, options.overlap / 2)
    middle = pair.points.mean(axis=0)
    size = np.full(6, _FIRST_STEP)
    simplex = np.vstack([np.zeros(6), np.diag(size)]) - size / 7

    def refine(start: np.ndarray) -> tuple[float, np.ndarray]:
        found = optimize.minimize(
            lambda pose: -pair.mutual_information(rigid_matrix(pose, middle, start)),
            np.zeros(6),
            method="Nelder-Mead",
            options={"initial_simplex": simplex, "xatol": _CLOSE_ENOUGH, "fatol": 1e-4, "adaptive": True},
        )
        return float(found.fun), rigid_matrix(found.x, middle, start)

    return min((refine(start) for start in starts), key=lambda scored: scored[0])[1]


def turns(largest_deg: float, step_deg: float) -> np.ndarray:
    """Rotation vectors ``(N, 3)`` in degrees on a lattice, up to the largest angle, the smallest first."""
    steps = int(largest_deg // step_deg)
    line = np.arange(-steps, steps + 1) * step_deg
    lattice = np.stack(np.meshgrid(line, line, line, indexing="ij"), axis=-1).reshape(-1, 3)
    angle = np.linalg.norm(lattice, axis=1)
    order = np.argsort(angle, kind="stable")
    return lattice[order][angle[order] <= largest_deg + _EMPTY]


@dataclass(frozen=True)
class _Levels:
    """A scan on a coarse grid, and the thresholds that part its head into levels."""

    volume: Volume
    head: np.ndarray
    thresholds: np.ndarray

    @classmethod
    def of(cls, volume: Volume, options: SearchOptions) -> _Levels:
        coarse = isotropic(volume, options.spacing_mm)
        data = coarse.data - coarse.data.min()
        head = ndimage.binary_fill_holes(data > AIR * np.percentile(data, TOP_PERCENTILE))
        between = np.linspace(0, 1, options.levels)[1:-1]
        return cls(coarse, head, np.quantile(coarse.data[head], between))

    @cached_property
    def mass(self) -> np.ndarray:
        low = self.volume.data.min()
        return center_of_mass(self.volume.like(np.where(self.head, self.volume.data - low, 0)))

    def planes(self, places: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Indicators ``(levels, *shape)`` float32 at voxel coordinates ``(3, N)``; air first, none outside the scan."""
        top = np.array(self.volume.shape)[:, None] - 0.5
        seen = ((places >= -0.5) & (places <= top)).all(axis=0)
        values = ndimage.map_coordinates(self.volume.data, places, order=1, mode="nearest")
        head = ndimage.map_coordinates(self.head.astype(np.float32), places, order=1, mode="nearest") > 0.5
        level = np.where(head, 1 + np.searchsorted(self.thresholds, values), 0)
        level = np.where(seen, level, -1).reshape(shape)
        return np.stack([level == k for k in range(len(self.thresholds) + 2)]).astype(np.float32)


def _turned_starts(fixed: Volume, moving: Volume, options: SearchOptions) -> list[np.ndarray]:
    """For each turn the best translation: matrices, the one with the highest mutual information first."""
    one, other = (_Levels.of(volume, options) for volume in (fixed, moving))
    lattice = _Lattice.around(one, options)
    least = options.overlap * min(one.head.sum(), other.head.sum())
    scored = []
    for turn in turns(options.largest_deg, options.step_deg):
        matrix = translation(other.mass) @ _turned(turn) @ translation(-one.mass)
        score, shift = lattice.best_shift(other, matrix, least)
        scored.append((score, matrix @ translation(shift)))
    return [matrix for _, matrix in sorted(scored, key=lambda each: -each[0])]


@dataclass(frozen=True)
class _Lattice:
    """The fixed scan's coarse grid with a margin, on which all translations are tried at once.

    Attributes:
        affine: of the fixed scan's coarse grid.
        size: voxels of the grid with its margin; translations wrap round it.
        first: index of its first voxel on the fixed scan's grid, 0 or less.
        spectra: of the fixed scan's indicators.
        shifts: ``(*size, 3)`` voxels by which the fixed scan's points are moved.
        near: which of them are within reach.
    """

    affine: np.ndarray
    size: tuple[int, ...]
    first: np.ndarray
    spectra: np.ndarray
    shifts: np.ndarray
    near: np.ndarray

    @classmethod
    def around(cls, fixed: _Levels, options: SearchOptions) -> _Lattice:
        shape = fixed.volume.shape
        margin = int(np.ceil(options.reach_mm / options.spacing_mm))
        size = tuple(fft.next_fast_len(side + margin, real=True) for side in shape)
        own = np.indices(shape).reshape(3, -1).astype(float)
        planes = fixed.planes(own, shape)
        cyclic = [fft.fftfreq(side, 1 / side) for side in size]
        shifts = np.stack(np.meshgrid(*cyclic, indexing="ij"), axis=-1)
        near = np.linalg.norm(shifts, axis=-1) * options.spacing_mm <= options.reach_mm
        first = -((np.array(size) - np.array(shape)) // 2)
        spectra = np.conj(fft.rfftn(planes, size, axes=(1, 2, 3)))
        return cls(fixed.volume.affine, size, first, spectra, shifts, near)

    def best_shift(self, moving: _Levels, matrix: np.ndarray, least: float) -> tuple[float, np.ndarray]:
        """The highest mutual information, nats, of all translations before ``matrix``, and its ``(3,)`` mm."""
        index = np.indices(self.size).reshape(3, -1) + self.first[:, None]
        to_voxel = np.linalg.inv(moving.volume.affine) @ matrix @ self.affine
        planes = moving.planes(to_voxel[:3, :3] @ index + to_voxel[:3, 3:], self.size)
        spectra = fft.rfftn(planes, axes=(1, 2, 3))
        joint = np.stack([fft.irfftn(plane[None] * spectra, self.size, axes=(1, 2, 3)) for plane in self.spectra])
        score = _information(np.maximum(joint, 0), least)
        # The moving scan's planes start at voxel `first`: so does the count of the shifts.
        score = np.where(self.near, np.roll(score, tuple(self.first), axis=(0, 1, 2)), -np.inf)
        best = np.unravel_index(int(score.argmax()), score.shape)
        return float(score[best]), self.affine[:3, :3] @ self.shifts[best]


def _information(joint: np.ndarray, least: float) -> np.ndarray:
    """Mutual information for joint histograms ``(K, K, ...)`` of counts; -inf where both heads share too little."""
    heads = joint[1:, 1:].sum(axis=(0, 1))
    share = joint / np.maximum(joint.sum(axis=(0, 1)), 1)
    information = _entropy(share.sum(axis=0)) + _entropy(share.sum(axis=1)) - _entropy(share.reshape(-1, *heads.shape))
    return np.where(heads >= least, information, -np.inf)


def _entropy(share: np.ndarray) -> np.ndarray:
    return -(share * np.log(np.maximum(share, _EMPTY))).sum(axis=0)


def _turned(vector_deg: np.ndarray) -> np.ndarray:
    return rigid_matrix(np.array([*vector_deg, 0, 0, 0]), np.zeros(3), np.eye(4))


def _distinct(starts: list[np.ndarray], middle: np.ndarray, options: SearchOptions) -> Iterator[np.ndarray]:
    """The first starts that lie apart from all before them."""
    offsets = _HEAD_RADIUS_MM * np.vstack([np.eye(3), -np.eye(3)])
    points = np.column_stack([middle + offsets, np.ones(len(offsets))])
    kept: list[np.ndarray] = []
    for start in starts:
        places = (points @ start.T)[:, :3]
        if all(np.linalg.norm(places - other, axis=1).mean() >= options.apart_mm for other in kept):
            kept.append(places)
            yield start
        if len(kept) == options.refined:
            return


def _thinned(volume: Volume) -> Volume:
    step = [max(1, round(_COARSE_MM / size)) for size in volume.spacing]
    return Volume(volume.data[:: step[0], :: step[1], :: step[2]], volume.affine @ np.diag([*step, 1.0]))
