"""DICOM series as volumes, by SimpleITK (GDCM). Nothing that names a person leaves this module.

Names, birth dates and numbers of patients are read for one purpose: to take them out of the description of a series.
UIDs leave as short keys. Errors name the scan's path as the cohort has it, never a file within, and repeat no message
of the reading library, which names files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import SimpleITK as sitk

from lesionlab.errors import InputError
from lesionlab.imaging.formats.dicom_damage import is_damaged
from lesionlab.imaging.formats.dicom_person import PERSONAL, without_person
from lesionlab.imaging.formats.dicom_planes import PLANE_TAGS, NoVolumeError, frame_planes, slice_plane, stack
from lesionlab.imaging.formats.itk import array_of, quiet
from lesionlab.imaging.formats.scan import Scan, ScanHeader, check_affine, check_size, no_grey_values
from lesionlab.imaging.scan_path import ScanPath, digest, folder_files

_SERIES_UID, _DESCRIPTION, _PROTOCOL, _NUMBER = "0020|000e", "0008|103e", "0018|1030", "0020|0011"
_IMAGE_TYPE, _MODALITY, _CONTRAST = "0008|0008", "0008|0060", "0018|0010"
_READER = "GDCMImageIO"  # said outright: files without preamble are not told by their content
_FOLDERS_KEPT = 4  # a study's sequences are read one after the other
#: What a series with a contrast agent has behind its description, so that patterns can tell it.
CONTRAST_MARK = " +contrast"


class _Image(NamedTuple):
    file: Path
    tags: dict[str, str]
    size: tuple[int, ...]
    components: int


@dataclass(frozen=True)
class Series:
    """One series of a folder, without anything that names a person.

    Attributes:
        key: stands for its UID.
        description: as the scanner's operator named it, ``+contrast`` behind it where an agent is given.
        number: of the series within its examination, "" where there is none.
        original: whether the images are the scanner's own, not derived from others.
        images: its files.
    """

    key: str
    description: str
    number: str
    original: bool
    images: tuple[_Image, ...]


class _Listed(NamedTuple):
    series: tuple[Series, ...]
    damaged: int


def list_series(folder: Path) -> list[Series]:
    """The image series of a folder and of the folders in it, by number, then key; other files are ignored."""
    return list(_listed(_files(folder)).series)


def check_files(folder: Path, path: Path | str, subject: str | None) -> None:
    """Raise ``InputError`` where images of a folder cannot be read: which series lacks them nobody knows.

    Args:
        folder: where the series lie.
        path: named in the error.
        subject: named in the error.
    """
    damaged = _listed(_files(folder)).damaged
    if damaged:
        raise _fault(
            "DICOM files of the study cannot be read, they may be truncated",
            f"{damaged} file{'s' if damaged > 1 else ''}",
            "whole files",
            "copy the study's files again, or take what is no image out of its folder",
            path,
            subject,
        )


def _files(folder: Path) -> tuple[tuple[Path, int, int], ...]:
    """The files below a folder with their sizes and times, 0 where they do not tell."""
    found = []
    for file in folder_files(folder):
        try:
            status = file.stat()
            found.append((file, status.st_size, status.st_mtime_ns))
        except OSError:  # a dead link, no permission
            found.append((file, 0, 0))
    return tuple(found)


@lru_cache(maxsize=_FOLDERS_KEPT)
def _listed(files: tuple[tuple[Path, int, int], ...]) -> _Listed:
    """The series of these files, read once as long as their sizes and times stay."""
    images: dict[str, list[_Image]] = {}
    damaged = 0
    with quiet():
        for file, _, _ in files:
            image = _read_tags(file)
            if image is None:
                damaged += is_damaged(file)
            elif image.tags.get(_SERIES_UID):
                images.setdefault(image.tags[_SERIES_UID], []).append(image)
    found = [_series(uid, several) for uid, several in images.items()]
    return _Listed(tuple(sorted(found, key=lambda one: (int(one.number or 0), one.key))), damaged)


def look(scan: ScanPath, path: Path | str, subject: str | None) -> ScanHeader:
    """Read the geometry of a series; see :func:`lesionlab.imaging.formats.look`."""
    return _header(_find(scan, path, subject), path, subject)[0]


def load(scan: ScanPath, path: Path | str, subject: str | None, limit_mb: float | None) -> Scan:
    """Read a series as a volume, float32; see :func:`lesionlab.imaging.formats.load`."""
    series = _find(scan, path, subject)
    header, order = _header(series, path, subject)
    check_size(header.shape, limit_mb, path, subject)
    one = len(series.images) == 1
    files = [str(series.images[0].file)] if one else [str(series.images[index].file) for index in order]
    try:
        with quiet():
            read = sitk.ReadImage(files[0] if one else files, sitk.sitkFloat32, _READER)
        voxels = array_of(read).reshape(header.shape)
    except MemoryError:
        raise  # says nothing of the file
    except Exception:
        raise _unreadable(len(files), path, subject) from None  # the library's message names the file
    return Scan(header, np.ascontiguousarray(voxels[..., order]) if one else voxels)


def _find(scan: ScanPath, path: Path | str, subject: str | None) -> Series:
    found = [one for one in list_series(scan.place) if one.key == scan.series] if scan.place.is_dir() else []
    if not found:
        raise _fault(
            "the DICOM series is missing",
            "no such series in the folder",
            "a series that was there when the cohort was read",
            "put its files back, or run the cohort pipeline again",
            path,
            subject,
        )
    check_files(scan.place, path, subject)
    return found[0]


def _read_tags(file: Path) -> _Image | None:
    """The header of one file, ``None`` where it is no DICOM image."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    reader.SetImageIO(_READER)
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return None
    tags = {key: reader.GetMetaData(key).strip() for key in reader.GetMetaDataKeys() if key in _WANTED}
    return _Image(file, tags, tuple(reader.GetSize()), reader.GetNumberOfComponents())


_WANTED = frozenset(
    {
        _SERIES_UID,
        _DESCRIPTION,
        _PROTOCOL,
        _NUMBER,
        _IMAGE_TYPE,
        _MODALITY,
        _CONTRAST,
        *PLANE_TAGS,
        *PERSONAL,
    }
)


def _series(uid: str, images: list[_Image]) -> Series:
    first = images[0].tags
    text = first.get(_DESCRIPTION) or first.get(_PROTOCOL) or ""
    contrast = first.get(_CONTRAST, "").lower() not in ("", "no", "none")
    return Series(
        key=digest(uid),
        description=without_person(text, first) + CONTRAST_MARK * contrast,
        number=re.sub(r"\D", "", first.get(_NUMBER, "")),
        original=first.get(_IMAGE_TYPE, "ORIGINAL").upper().startswith("ORIGINAL"),
        images=tuple(images),
    )


def _header(series: Series, path: Path | str, subject: str | None) -> tuple[ScanHeader, list[int]]:
    """The grid of a series, and the order in which its files (or frames) follow each other along the third axis."""
    images = series.images
    if any(image.components > 1 for image in images):
        raise no_grey_values("colours", path, subject)
    frames = [image.size[2] if len(image.size) > 2 else 1 for image in images]
    if (len(images) > 1 and max(frames) > 1) or len({image.size[:2] for image in images}) > 1:
        raise _fault(
            "the DICOM series holds several images",
            f"{len(images)} files of {sorted({image.size for image in images})} pixels",
            "slices of one size, or one multi-frame file",
            "export the wanted image as a series of its own",
            path,
            subject,
        )
    try:
        planes = frame_planes(images[0].file) if frames[0] > 1 else [slice_plane(image.tags) for image in images]
    except NoVolumeError as error:
        raise _no_place(str(error), path, subject) from None
    except MemoryError:
        raise
    except Exception:
        raise _unreadable(
            len(images), path, subject
        ) from None  # whatever pydicom raises repeats the file's name or words
    try:
        order, affine = stack(planes)
    except NoVolumeError as error:
        raise _uneven(str(error), path, subject) from None
    shape = (images[0].size[0], images[0].size[1], len(planes))
    return ScanHeader(shape, check_affine(affine, path, subject), "float32", scaled=True), order


def _unreadable(files: int, path: Path | str, subject: str | None) -> InputError:
    return _fault(
        "a DICOM file of the series cannot be read, it may be truncated",
        f"{files} files",
        "whole files",
        "copy the series again",
        path,
        subject,
    )


def _no_place(given: str, path: Path | str, subject: str | None) -> InputError:
    return _fault(
        "a DICOM file does not say where its slice lies",
        given,
        "files with ImagePositionPatient, ImageOrientationPatient and PixelSpacing",
        "export the series again, as MR images",
        path,
        subject,
    )


def _uneven(given: str, path: Path | str, subject: str | None) -> InputError:
    return _fault(
        "the slices of the DICOM series make no volume",
        given,
        "parallel slices at equal distances, one image at each position",
        "copy what is missing, or export the wanted image as a series of its own and name it in the series table",
        path,
        subject,
    )


def _fault(what: str, given: Any, allowed: str, cure: str, path: Path | str, subject: str | None) -> InputError:
    return InputError(what, given=given, allowed=allowed, cure=cure, subject=subject, file=path)
