"""Where DICOM slices lie, and how they make a volume. No text of a file leaves this module, numbers alone do."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pydicom

from lesionlab.imaging.formats.itk import to_ras

_POSITION, _ORIENTATION, _PIXEL_SPACING = PLANE_TAGS = ("0020|0032", "0020|0037", "0028|0030")
_STEP_TOLERANCE_MM = 0.1  # by which distances between slices may differ
_TURN_TOLERANCE = 1e-3  # between direction cosines of slices that are parallel


class NoVolumeError(ValueError):
    """What keeps slices from making a volume, in words of this module."""


class Plane(NamedTuple):
    """One slice: direction of its rows, then of its columns; its first pixel; distances of rows and of columns, mm."""

    turn: np.ndarray  # (6,)
    place: np.ndarray  # (3,), LPS
    spacing: np.ndarray  # (2,)


def slice_plane(tags: Mapping[str, str]) -> Plane:
    """The plane of a file with one slice; raises :class:`NoVolumeError` where it says too little."""
    turn, place, spacing = (tags.get(tag, "").split("\\") for tag in (_ORIENTATION, _POSITION, _PIXEL_SPACING))
    return _plane(turn, place, spacing)


def frame_planes(file: Path) -> list[Plane]:
    """The planes of a multi-frame file (Enhanced MR), in the order of its frames.

    SimpleITK takes frames to follow each other as they are stored; the standard does not promise it.

    Raises:
        NoVolumeError: the file says too little, or scales its frames differently.
        Exception: whatever pydicom raises on a damaged file; its words may repeat the file's.
    """
    with quiet_pydicom():
        data = pydicom.dcmread(file, stop_before_pixels=True, force=True)  # force: files without preamble too
        shared = (data.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()])[0]
        frames = data.get("PerFrameFunctionalGroupsSequence") or []
        if len({tuple(_item(f, shared, "PixelValueTransformationSequence", "RescaleSlope", 1)) for f in frames}) > 1:
            raise NoVolumeError("frames that are scaled differently")
        return [
            _plane(
                _item(frame, shared, "PlaneOrientationSequence", "ImageOrientationPatient"),
                _item(frame, shared, "PlanePositionSequence", "ImagePositionPatient"),
                _item(frame, shared, "PixelMeasuresSequence", "PixelSpacing"),
            )
            for frame in frames
        ]


def stack(planes: Sequence[Plane]) -> tuple[list[int], np.ndarray]:
    """The order of slices by their positions, and the affine from voxel indices to RAS millimetres.

    The affine's columns are the row direction times the distance of columns, the column direction times the distance
    of rows, and the step from slice to slice (DICOM PS3.3, C.7.6.2.1.1).

    Raises:
        NoVolumeError: the slices are not parallel, not equally far apart, or several lie at one position; says which.
    """
    if not planes:
        raise NoVolumeError("no slice")
    turns, places = (np.array([getattr(plane, name) for plane in planes]) for name in ("turn", "place"))
    if np.abs(turns - turns[0]).max() > _TURN_TOLERANCE:
        raise NoVolumeError("slices that are not parallel")
    row, column = turns[0][:3], turns[0][3:]
    heights = places @ np.cross(row, column)
    order = np.argsort(heights, kind="stable")
    steps = np.diff(heights[order])
    if len(steps) and steps.min() < _STEP_TOLERANCE_MM / 2:
        raise NoVolumeError("several images at one position (echoes, b-values or time points)")
    if len(steps) and np.ptp(steps) > _STEP_TOLERANCE_MM:
        raise NoVolumeError(f"slices {steps.min():.2f} to {steps.max():.2f} mm apart: some are missing")
    between_rows, between_columns = planes[0].spacing
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = row * between_columns, column * between_rows
    span = places[order[-1]] - places[order[0]]
    affine[:3, 2] = span / len(steps) if len(steps) else np.cross(row, column)
    affine[:3, 3] = places[order[0]]
    return [int(index) for index in order], to_ras(affine)


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Keep pydicom from warning and logging: it names files and repeats what stands in them."""
    logger = logging.getLogger("pydicom")
    before, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before


def _plane(turn: Sequence[Any], place: Sequence[Any], spacing: Sequence[Any]) -> Plane:
    try:
        found = [np.array([float(value) for value in values]) for values in (turn, place, spacing)]
    except (TypeError, ValueError):
        raise NoVolumeError("no position, orientation or pixel spacing") from None
    if [len(values) for values in found] != [6, 3, 2] or not all(np.isfinite(values).all() for values in found):
        raise NoVolumeError("no position, orientation or pixel spacing")
    return Plane(*found)


def _item(frame: pydicom.Dataset, shared: pydicom.Dataset, sequence: str, name: str, default: Any = ()) -> list[Any]:
    """An attribute of a frame's functional group, or of the one that all frames share."""
    for group in (frame, shared):
        items = group.get(sequence)
        if items and items[0].get(name) is not None:
            value = items[0].get(name)
            return list(value) if isinstance(value, (list, pydicom.multival.MultiValue)) else [value]
    return list(default) if isinstance(default, tuple) else [default]
