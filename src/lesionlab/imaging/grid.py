"""The common grid of slices: upright axes, one pixel size, one matrix, centred on the brain."""

from __future__ import annotations

from dataclasses import dataclass

import nibabel as nib
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from lesionlab.errors import InputError
from lesionlab.imaging.resample import Interpolation, resample
from lesionlab.imaging.volume import Volume


class GridOptions(BaseModel):
    """Pixel size and matrix of the slices."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    in_plane_mm: float | None = Field(2.0, gt=0, description="pixel size; null: as scanned")
    size: tuple[PositiveInt, PositiveInt] = Field((80, 96), description="pixels left to right, posterior to anterior")
    plane_mm: float | None = Field(None, gt=0, description="distance of planes; null: the planes as scanned")
    interpolation: Interpolation = Field("cubic", description="of the images, once from raw scan to grid")
    label_interpolation: Interpolation = Field("labels", description="of masks and label maps")
    max_cropped: float = Field(0.01, ge=0, le=1, description="share of the brain that may fall off the matrix")


@dataclass(frozen=True)
class Grid:
    """Where a study's slices lie.

    Attributes:
        shape: ``(X, Y, Z)``: to the right, to the front, upwards.
        affine: ``(4, 4)``, voxel -> RAS mm. Axes point to R, A, S as nearly as the scan's own axes allow; a tilted scan
            stays tilted, so that its planes stay its planes.
        qc: ``cropped_fraction`` of the brain that falls off the matrix.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    qc: dict[str, float]


def make_grid(brain: Volume, options: GridOptions) -> Grid:
    """Lay a grid upon a brain mask: its in-plane centre on the mask's, its planes on the scan's.

    Args:
        brain: uint8 mask, on the reference scan's grid, in any orientation.
        options: see :class:`GridOptions`.

    Raises:
        InputError: the mask is empty, or more of the brain than allowed would fall off the matrix.
    """
    if not brain.data.any():
        raise InputError("the brain mask is empty", given="0 voxels", allowed="a brain", cure="look at the mask")
    upright = to_ras(brain)
    spacing = np.array(upright.spacing)
    new_spacing = np.array([options.in_plane_mm or spacing[0], options.in_plane_mm or spacing[1], spacing[2]])
    planes, first = upright.shape[2], 0.0
    if options.plane_mm:
        new_spacing[2] = options.plane_mm
        planes = int(np.ceil(upright.shape[2] * spacing[2] / options.plane_mm))
        first = (upright.shape[2] - 1) / 2 - (planes - 1) / 2 * options.plane_mm / spacing[2]
    corners = np.argwhere(upright.data > 0)
    middle = (corners.min(axis=0) + corners.max(axis=0)) / 2
    scale = new_spacing / spacing
    start = middle - (np.array([*options.size, planes]) - 1) / 2 * scale
    start[2] = first
    affine = upright.affine @ _scale_and_shift(scale, start)
    shape = (options.size[0], options.size[1], planes)
    return Grid(shape, affine, {"cropped_fraction": _cropped(corners, start, scale, shape, options)})


def labels_to_grid(labels: Volume, grid: Grid, options: GridOptions, matrix: np.ndarray | None = None) -> Volume:
    """Resample a mask or label map onto the grid.

    Args:
        labels: on any grid.
        grid: of :func:`make_grid`.
        options: the interpolation.
        matrix: ``(4, 4)`` RAS mm of the grid -> RAS mm of the labels; identity by default.
    """
    return resample(labels, grid.shape, grid.affine, matrix=matrix, interpolation=options.label_interpolation)


def to_ras(volume: Volume) -> Volume:
    """Axes swapped and flipped so that they point right, front and up; no voxel changes its value."""
    orientation = nib.io_orientation(volume.affine)
    data = nib.apply_orientation(volume.data, orientation)
    return Volume(data, volume.affine @ nib.orientations.inv_ornt_aff(orientation, volume.shape))


def _scale_and_shift(scale: np.ndarray, start: np.ndarray) -> np.ndarray:
    matrix = np.diag([*scale, 1.0])
    matrix[:3, 3] = start
    return matrix


def _cropped(
    brain: np.ndarray, start: np.ndarray, scale: np.ndarray, shape: tuple[int, int, int], options: GridOptions
) -> float:
    place = (brain - start) / scale
    outside = ((place < -0.5) | (place > np.array(shape) - 0.5)).any(axis=1)
    fraction = float(outside.mean())
    if fraction > options.max_cropped:
        needed = np.ceil((brain.max(axis=0) - brain.min(axis=0) + 1) / scale).astype(int)
        raise InputError(
            "the brain does not fit the grid",
            given=f"{fraction:.1%} of it falls off {options.size[0]} x {options.size[1]} pixels",
            allowed=f"at most {options.max_cropped:.1%} (`grid.max_cropped`)",
            cure=f"set `grid.size` to at least {needed[0]} x {needed[1]}, or larger pixels (`grid.in_plane_mm`)",
        )
    return fraction
