"""NIfTI files: read with every fault told plainly, written whole or not at all."""

from __future__ import annotations

import gzip
import uuid
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from lesionlab.errors import InputError
from lesionlab.imaging.volume import Volume

#: File names that can be read and written.
SUFFIXES = (".nii.gz", ".nii")

#: What reading a damaged file may raise, in the header or in the voxels.
#: (a damaged header may ask for more memory than there is).
_UNREADABLE = (
    ImageFileError,
    HeaderDataError,
    OSError,
    EOFError,
    ValueError,
    TypeError,
    MemoryError,
    zlib.error,
    gzip.BadGzipFile,
)

_FLAT = 1e-6  # mm^3: a voxel this small is a fault of the header
_GZIP_LEVEL = 3  # half the time of the default level for some per cent of size


def read_volume(path: Path | str, *, subject: str | None = None, dtype: Any = np.float32) -> Volume:
    """Read a NIfTI file of three dimensions.

    Args:
        path: a ``.nii`` or ``.nii.gz`` file. Trailing axes of length 1 are dropped.
        subject: named in the error, where there is one.
        dtype: of the voxels; values are scaled by the header's slope and intercept first. An integer dtype asks for
            whole numbers in the file (a label map), which are rounded, not cut.

    Returns:
        ``(X, Y, Z)`` voxels as stored (no axis is flipped) with the affine to RAS millimetres.

    Raises:
        InputError: the file is missing, unreadable or truncated, has not three dimensions, holds NaN or infinite
            values or one value only (for an integer dtype: is not whole, or does not fit the type).
    """
    image = _open(path, subject)
    _check_kind(image, path, subject)
    try:
        data = np.asanyarray(image.dataobj)
    except _UNREADABLE as error:
        raise _unreadable(path, subject, error) from error
    data = data.reshape(_three_axes(image.shape, path, subject))
    _check_voxels(data, path, subject, may_be_constant=np.issubdtype(dtype, np.integer))
    return Volume(_cast(data, np.dtype(dtype), path, subject), np.asarray(image.affine, dtype=np.float64))


def read_header(path: Path | str, subject: str | None = None) -> tuple[tuple[int, int, int], np.ndarray]:
    """Read a file's shape ``(X, Y, Z)`` and its ``(4, 4)`` affine without its voxels.

    Raises:
        InputError: as :func:`read_volume` for a missing or unreadable file and for the number of axes.
    """
    image = _open(path, subject)
    return _three_axes(image.shape, path, subject), np.asarray(image.affine, dtype=np.float64)


def write_volume(volume: Volume, path: Path | str) -> Path:
    """Write a volume as NIfTI-1, beside its place first and then renamed: a reader never meets half a file.

    The time stamp is left out of the gzip header, so the same volume gives the same bytes.

    Raises:
        ValueError: the name ends neither in ``.nii.gz`` nor in ``.nii``.
    """
    path = Path(path)
    if not path.name.endswith(SUFFIXES):
        raise ValueError(f"a NIfTI file's name ends in one of {SUFFIXES}, got {path.name}")
    data = volume.data.astype(np.uint8) if volume.data.dtype == bool else volume.data
    content = nib.Nifti1Image(data, volume.affine).to_bytes()
    if path.name.endswith(".gz"):
        content = gzip.compress(content, _GZIP_LEVEL, mtime=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        aside.write_bytes(content)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    return path


def _open(path: Path | str, subject: str | None) -> Any:
    if not Path(path).is_file():
        raise InputError(
            "the file is missing",
            given="no file there",
            allowed="an existing .nii or .nii.gz file",
            cure="put the file there, or correct the layout's template",
            subject=subject,
            file=path,
        )
    try:
        image = nib.load(path)
    except _UNREADABLE as error:
        raise _unreadable(path, subject, error) from error
    affine = np.asarray(image.affine)  # type: ignore[attr-defined]
    if not (np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > _FLAT):
        raise InputError(
            "the header does not say where the voxels lie",
            given=f"affine {affine.round(3).tolist()}",
            allowed="a finite affine whose three axes span space",
            cure="convert the scan again, or repair its sform and qform",
            subject=subject,
            file=path,
        )
    return image


def _check_kind(image: Any, path: Path | str, subject: str | None) -> None:
    kind = image.get_data_dtype()
    if kind.fields is not None or np.issubdtype(kind, np.complexfloating):
        raise InputError(
            "the voxels are no grey values",
            given=f"data type {kind}",
            allowed="integer or floating-point voxels",
            cure="convert colours to grey values, and complex scans to their magnitude",
            subject=subject,
            file=path,
        )


def _unreadable(path: Path | str, subject: str | None, error: BaseException) -> InputError:
    return InputError(
        "the file cannot be read as NIfTI, it may be truncated",
        given=f"{Path(path).stat().st_size} bytes, {type(error).__name__}: {error}",
        allowed="a whole .nii or .nii.gz file",
        cure="copy or convert the file again",
        subject=subject,
        file=path,
    )


def _three_axes(shape: tuple[int, ...], path: Path | str, subject: str | None) -> tuple[int, int, int]:
    kept = list(shape)
    while len(kept) > 3 and kept[-1] == 1:
        kept.pop()
    if len(kept) != 3 or 0 in kept:
        raise InputError(
            f"the file has {len(shape)} dimensions where 3 are due",
            given=f"shape {tuple(shape)}",
            allowed="shape (X, Y, Z), trailing axes of length 1 are dropped",
            cure="split the series into one file per sequence, and name that file in the layout",
            subject=subject,
            file=path,
        )
    return kept[0], kept[1], kept[2]


def _check_voxels(data: np.ndarray, path: Path | str, subject: str | None, *, may_be_constant: bool) -> None:
    finite = np.isfinite(data)
    if not finite.all():
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


def _cast(data: np.ndarray, dtype: np.dtype, path: Path | str, subject: str | None) -> np.ndarray:
    if not np.issubdtype(dtype, np.integer):
        return np.ascontiguousarray(data, dtype=dtype)
    whole, limits = np.rint(data), np.iinfo(dtype)
    if not np.allclose(whole, data, atol=1e-3) or whole.min() < limits.min or whole.max() > limits.max:
        raise InputError(
            "the label map holds values that are no labels",
            given=f"values from {data.min()} to {data.max()}",
            allowed=f"whole numbers from {limits.min} to {limits.max}",
            cure="name a mask or label map here, not an image; resample labels with nearest neighbour",
            subject=subject,
            file=path,
        )
    return np.ascontiguousarray(whole, dtype=dtype)
