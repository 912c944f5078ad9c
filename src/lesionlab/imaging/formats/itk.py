"""SimpleITK's images in this package's terms: axes X, Y, Z and RAS millimetres."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import SimpleITK as sitk

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def affine_of(image: Any) -> np.ndarray:
    """``(4, 4)`` voxel indices to RAS millimetres of an image, or of a reader that has read an image's header."""
    dimension = len(image.GetSize())
    direction = np.asarray(image.GetDirection()).reshape(dimension, dimension)[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = direction * np.asarray(image.GetSpacing())[:3]
    affine[:3, 3] = np.asarray(image.GetOrigin())[:3]
    return _LPS_TO_RAS @ affine


def to_ras(affine: np.ndarray) -> np.ndarray:
    """An affine to LPS millimetres (DICOM's and ITK's) as one to RAS."""
    return _LPS_TO_RAS @ affine


def array_of(image: sitk.Image) -> np.ndarray:
    """The voxels as ``(X, Y, Z, ...)``."""
    return np.ascontiguousarray(sitk.GetArrayFromImage(image).T)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep ITK from writing warnings of its own, which name files, to the terminal."""
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)
