"""A scan as it lies on disk, and the words for what may be wrong with one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel.volumeutils import apply_read_scaling

from lesionlab.errors import InputError

_FLAT = 1e-6  # mm^3: a voxel this small is a fault of the header
_MEGABYTE = 2**20
_READ_BYTES = 4  # scans are worked on as float32


@dataclass(frozen=True)
class ScanHeader:
    """What a scan's header says.

    Attributes:
        shape: ``(X, Y, Z)``.
        affine: ``(4, 4)`` float64, voxel indices to RAS millimetres.
        dtype: of the stored voxels, as text (``int16``, big-endian ``>i2`` as ``int16`` too).
        scaled: whether a slope and an intercept turn stored values into the scan's.
        oddities: what is unusual but can be worked with, a sentence each.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    dtype: str
    scaled: bool = False
    oddities: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scan:
    """A scan with its voxels as stored; ``values`` has the slope and the intercept applied."""

    header: ScanHeader
    stored: np.ndarray
    slope: float = 1.0
    intercept: float = 0.0

    @property
    def values(self) -> np.ndarray:
        """``(X, Y, Z)`` voxels; float64 where the header scales them, else as stored."""
        return np.asarray(apply_read_scaling(self.stored, self.slope, self.intercept))


def check_size(shape: tuple[int, ...], limit_mb: float | None, path: Path | str, subject: str | None) -> None:
    """Raise ``InputError`` for a scan larger than the limit, before any of its voxels is read."""
    megabytes = float(np.prod(shape, dtype=np.float64)) * _READ_BYTES / _MEGABYTE
    if limit_mb is not None and megabytes > limit_mb:
        raise InputError(
            "the scan is larger than scans may be",
            given=f"shape {shape}, {megabytes:.0f} MB in memory, by its header",
            allowed=f"at most {limit_mb:g} MB (`cohort.max_scan_mb`)",
            cure="if the header is right, raise cohort.max_scan_mb or resample the scan; else convert it again",
            subject=subject,
            file=path,
        )


def check_affine(affine: np.ndarray, path: Path | str, subject: str | None) -> np.ndarray:
    """Return the affine as float64; raises ``InputError`` where it does not span space."""
    affine = np.asarray(affine, dtype=np.float64)
    if not (np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > _FLAT):
        raise InputError(
            "the header does not say where the voxels lie",
            given=f"affine {affine.round(3).tolist()}",
            allowed="a finite affine whose three axes span space",
            cure="convert the scan again, or repair its sform and qform",
            subject=subject,
            file=path,
        )
    return affine


def three_axes(shape: tuple[int, ...], path: Path | str, subject: str | None) -> tuple[int, int, int]:
    """The shape without trailing axes of length 1; raises ``InputError`` where three are not left."""
    kept = list(shape)
    while len(kept) > 3 and kept[-1] == 1:
        kept.pop()
    if len(kept) != 3 or 0 in kept:
        raise InputError(
            f"the file has {len(shape)} dimensions where 3 are due",
            given=f"shape {tuple(shape)}",
            allowed="shape (X, Y, Z), trailing axes of length 1 are dropped",
            cure="split the series into one file per sequence, and name that file in the layout; "
            "one volume of it is named by #channel=<number>",
            subject=subject,
            file=path,
        )
    return kept[0], kept[1], kept[2]


def no_grey_values(kind: object, path: Path | str, subject: str | None) -> InputError:
    """The error for colours and complex numbers."""
    return InputError(
        "the voxels are no grey values",
        given=f"data type {kind}",
        allowed="integer or floating-point voxels",
        cure="convert colours to grey values, and complex scans to their magnitude",
        subject=subject,
        file=path,
    )


def check_file(file: Path, path: Path | str, subject: str | None) -> None:
    """Raise ``InputError`` where there is no file: nothing, a folder, or a link that leads nowhere or in a circle."""
    if file.is_file():
        return
    found, cure = "no file there", "put the file there, or correct the layout's template"
    if file.is_symlink() and not file.exists():
        found, cure = "a symbolic link that leads nowhere or in a circle", "fetch or restore the file it leads to"
    elif file.exists():
        found = "a folder of that name" if file.is_dir() else "something that is no regular file"
    raise InputError(
        "the file is missing",
        given=found,
        allowed="an existing .nii or .nii.gz file",
        cure=cure,
        subject=subject,
        file=path,
    )


def unreadable(kind: str, error: BaseException, path: Path | str, size: int, subject: str | None) -> InputError:
    """The error for a file that cannot be read, by what reading it raised."""
    if isinstance(error, PermissionError):
        return InputError(
            "the file may not be read: permission denied",
            given=f"{size} bytes, not readable for this user",
            allowed="a file that this user may read",
            cure="give the user that runs lesionlab the right to read it (chmod, chown)",
            subject=subject,
            file=path,
        )
    return InputError(
        f"the file cannot be read as {kind}, it may be truncated or damaged",
        given=f"{size} bytes, {type(error).__name__}: {error}",
        allowed="a whole .nii or .nii.gz file" if kind == "NIfTI" else f"a whole {kind} file",
        cure="copy or convert the file again",
        subject=subject,
        file=path,
    )
