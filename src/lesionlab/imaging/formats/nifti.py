"""Volumes on disk: read with every fault told plainly, written as NIfTI whole or not at all."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import deflate
import nibabel as nib
import numpy as np

from lesionlab.errors import InputError
from lesionlab.imaging import formats
from lesionlab.imaging.volume import Volume

#: File names that can be written.
SUFFIXES = (".nii.gz", ".nii")

_GZIP_LEVEL = 1  # of libdeflate: a third of the time of the standard library for the same size
_WHOLE = 1e-3  # by which a stored label may miss a whole number


def read_volume(path: Path | str, *, subject: str | None = None, dtype: Any = np.float32) -> Volume:
    """Read a scan or mask of three dimensions.

    Args:
        path: a ``.nii``, ``.nii.gz``, ``.mha`` or ``.mhd`` file, one channel of a 4D file, or a DICOM series, see
            :mod:`lesionlab.imaging.scan_path`. Trailing axes of length 1 are dropped.
        subject: named in the error, where there is one.
        dtype: of the voxels; values are scaled by the header's slope and intercept first. An integer dtype asks for
            whole numbers in the file (a label map), which are rounded, not cut.

    Returns:
        ``(X, Y, Z)`` voxels as stored (no axis is flipped) with the affine to RAS millimetres.

    Raises:
        InputError: the file is missing, unreadable or truncated, has not three dimensions, holds NaN or infinite
            values or one value only (for an integer dtype: is not whole, or does not fit the type).
    """
    scan = formats.load(path, subject)
    data = scan.values
    check_voxels(data, path, subject, may_be_constant=np.issubdtype(dtype, np.integer))
    return Volume(_cast(data, np.dtype(dtype), path, subject), scan.header.affine)


def read_header(path: Path | str, subject: str | None = None) -> tuple[tuple[int, int, int], np.ndarray]:
    """Read a file's shape ``(X, Y, Z)`` and its ``(4, 4)`` affine without its voxels.

    Raises:
        InputError: as :func:`read_volume` for a missing or unreadable file and for the number of axes.
    """
    header = formats.look(path, subject)
    return header.shape, header.affine


def write_volume(volume: Volume, path: Path | str) -> Path:
    """Write a volume as NIfTI-1, beside its place first and then renamed: a reader never meets half a file.

    The same volume gives the same bytes: the gzip header has no time stamp, and libdeflate does not depend on what
    memory held before (igzip, which is faster, compresses one file in two thousand otherwise).

    Raises:
        ValueError: the name ends neither in ``.nii.gz`` nor in ``.nii``.
    """
    path = Path(path)
    if not path.name.endswith(SUFFIXES):
        raise ValueError(f"a NIfTI file's name ends in one of {SUFFIXES}, got {path.name}")
    data = volume.data.astype(np.uint8) if volume.data.dtype == bool else volume.data
    content = nib.Nifti1Image(data, volume.affine).to_bytes()
    if path.name.endswith(".gz"):
        content = bytes(deflate.gzip_compress(content, _GZIP_LEVEL))
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        aside.write_bytes(content)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    return path


def check_voxels(data: np.ndarray, path: Path | str, subject: str | None, *, may_be_constant: bool) -> None:
    """Raise ``InputError`` for NaN, infinite values, and (unless it may be) an image of one value."""
    # Whole numbers are finite; for the others the sum tells at once, and only a suspicious one asks for every voxel.
    finite = np.isfinite(data) if data.dtype.kind == "f" and not np.isfinite(data.sum(dtype=np.float64)) else None
    if finite is not None and not finite.all():
        raise InputError(
            "the volume holds NaN or infinite values",
            given=f"{int((~finite).sum())} of {data.size} voxels",
            allowed="finite values",
            cure="repair the file (set those voxels to 0 if they are background), or leave the study out",
            subject=subject,
            file=path,
        )
    if not may_be_constant and data.min() == data.max():
        raise InputError(
            "the volume is constant",
            given=f"every voxel is {data.flat[0]}",
            allowed="an image",
            cure="convert the scan again, or leave the study out",
            subject=subject,
            file=path,
        )


def as_labels(data: np.ndarray, path: Path | str, subject: str | None, dtype: Any = np.int16) -> np.ndarray:
    """Whole numbers of an integer type; raises ``InputError`` for values that are no labels of that type.

    Bytes stay bytes where ``dtype`` holds them all: a mask is mostly read as it is stored.
    """
    limits = np.iinfo(dtype)
    if data.dtype == np.uint8 and limits.max >= np.iinfo(np.uint8).max:
        return data
    check_voxels(data, path, subject, may_be_constant=True)
    whole = data if data.dtype.kind in "iub" else np.rint(data)
    if (whole is not data and not np.allclose(whole, data, atol=_WHOLE)) or not _within(whole, limits):
        raise InputError(
            "the label map holds values that are no labels",
            given=f"values from {data.min()} to {data.max()}",
            allowed=f"whole numbers from {limits.min} to {limits.max}",
            cure="name a mask or label map here, not an image; resample labels with nearest neighbour",
            subject=subject,
            file=path,
        )
    return whole.astype(dtype)


def _within(data: np.ndarray, limits: np.iinfo) -> bool:
    return bool(data.min() >= limits.min and data.max() <= limits.max)


def _cast(data: np.ndarray, dtype: np.dtype, path: Path | str, subject: str | None) -> np.ndarray:
    if np.issubdtype(dtype, np.integer):
        data = as_labels(data, path, subject, dtype)
    return np.ascontiguousarray(data, dtype=dtype)
