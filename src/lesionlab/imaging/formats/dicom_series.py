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
from lesionlab.imaging.formats.itk import affine_of, array_of, quiet, to_ras
from lesionlab.imaging.formats.scan import Scan, ScanHeader, check_affine, check_size, no_grey_values
from lesionlab.imaging.scan_path import ScanPath, digest, folder_files

_SERIES_UID, _DESCRIPTION, _PROTOCOL, _NUMBER = "0020|000e", "0008|103e", "0018|1030", "0020|0011"
_IMAGE_TYPE, _MODALITY, _CONTRAST = "0008|0008", "0008|0060", "0018|0010"
_POSITION, _ORIENTATION, _PIXEL_SPACING = "0020|0032", "0020|0037", "0028|0030"
_PERSONAL = ("0010|0010", "0010|0020", "0010|0030", "0010|1000", "0010|1001", "0010|1005", "0008|0050")
_SHORTEST_NAME = 3  # letters: shorter parts of a name are words of descriptions too
_HIDDEN = "***"
_FOLDERS_KEPT = 4  # a study's sequences are read one after the other
_STEP_TOLERANCE_MM = 0.1  # by which distances between slices may differ
_TURN_TOLERANCE = 1e-3  # between direction cosines of slices that are parallel
#: What a series with a contrast agent has behind its description, so that patterns can tell it.
CONTRAST_MARK = " +contrast"


class _Image(NamedTuple):
    file: Path
    tags: dict[str, str]
    size: tuple[int, ...]
    components: int
    affine: np.ndarray


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


def list_series(folder: Path) -> list[Series]:
    """The image series of a folder and of the folders in it, by number, then key; other files are ignored."""
    files = tuple((file, (status := file.stat()).st_size, status.st_mtime_ns) for file in folder_files(folder))
    return list(_listed(files))


@lru_cache(maxsize=_FOLDERS_KEPT)
def _listed(files: tuple[tuple[Path, int, int], ...]) -> tuple[Series, ...]:
    """The series of these files, read once as long as their sizes and times stay."""
    images: dict[str, list[_Image]] = {}
    with quiet():
        for file, _, _ in files:
            image = _read_tags(file)
            if image is not None and image.tags.get(_SERIES_UID):
                images.setdefault(image.tags[_SERIES_UID], []).append(image)
    found = [_series(uid, several) for uid, several in images.items()]
    return tuple(sorted(found, key=lambda one: (int(one.number or 0), one.key)))


def look(scan: ScanPath, path: Path | str, subject: str | None) -> ScanHeader:
    """Read the geometry of a series; see :func:`lesionlab.imaging.formats.look`."""
    return _header(_find(scan, path, subject), path, subject)[0]


def load(scan: ScanPath, path: Path | str, subject: str | None, limit_mb: float | None) -> Scan:
    """Read a series as a volume, float32; see :func:`lesionlab.imaging.formats.load`."""
    header, images = _header(_find(scan, path, subject), path, subject)
    check_size(header.shape, limit_mb, path, subject)
    files = [str(image.file) for image in images]
    try:
        with quiet():
            read = sitk.ReadImage(files if len(files) > 1 else files[0], sitk.sitkFloat32)
    except RuntimeError:
        raise _fault(
            "a DICOM file of the series cannot be read, it may be truncated",
            f"{len(files)} files",
            "whole files",
            "copy the series again",
            path,
            subject,
        ) from None  # the library's message names the file
    return Scan(header, array_of(read).reshape(header.shape))


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
    return found[0]


def _read_tags(file: Path) -> _Image | None:
    """The header of one file, ``None`` where it is no DICOM image."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    reader.SetImageIO("GDCMImageIO")
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return None
    tags = {key: reader.GetMetaData(key).strip() for key in reader.GetMetaDataKeys() if key in _WANTED}
    return _Image(file, tags, tuple(reader.GetSize()), reader.GetNumberOfComponents(), affine_of(reader))


_WANTED = frozenset(
    {
        _SERIES_UID,
        _DESCRIPTION,
        _PROTOCOL,
        _NUMBER,
        _IMAGE_TYPE,
        _MODALITY,
        _CONTRAST,
        _POSITION,
        _ORIENTATION,
        _PIXEL_SPACING,
        *_PERSONAL,
    }
)


def _series(uid: str, images: list[_Image]) -> Series:
    first = images[0].tags
    text = first.get(_DESCRIPTION) or first.get(_PROTOCOL) or ""
    contrast = first.get(_CONTRAST, "").lower() not in ("", "no", "none")
    return Series(
        key=digest(uid),
        description=_without_person(text, first) + CONTRAST_MARK * contrast,
        number=re.sub(r"\D", "", first.get(_NUMBER, "")),
        original=first.get(_IMAGE_TYPE, "ORIGINAL").upper().startswith("ORIGINAL"),
        images=tuple(images),
    )


def _without_person(text: str, tags: dict[str, str]) -> str:
    """A description without the words of the patient's name, number and birth date."""
    parts = {part for key in _PERSONAL for part in re.split(r"[\s^=\\,;_]+", tags.get(key, ""))}
    for part in sorted((part for part in parts if len(part) >= _SHORTEST_NAME), key=lambda part: (-len(part), part)):
        text = re.sub(re.escape(part), _HIDDEN, text, flags=re.IGNORECASE)
    return text


def _header(series: Series, path: Path | str, subject: str | None) -> tuple[ScanHeader, list[_Image]]:
    """The grid of a series, and its files in the order of the grid's third axis."""
    images = list(series.images)
    if any(image.components > 1 for image in images):
        raise no_grey_values("colours", path, subject)
    frames = [image.size[2] if len(image.size) > 2 else 1 for image in images]
    if len(images) == 1 and frames[0] > 1:
        shape = (*images[0].size[:2], frames[0])
        return _scan_header(shape, images[0].affine, path, subject), images
    if max(frames) > 1 or len({image.size[:2] for image in images}) > 1:
        raise _fault(
            "the DICOM series holds several images",
            f"{len(images)} files of {sorted({image.size for image in images})} pixels",
            "slices of one size, or one multi-frame file",
            "export the wanted image as a series of its own",
            path,
            subject,
        )
    ordered, affine = _stack(images, path, subject)
    return _scan_header((*images[0].size[:2], len(images)), affine, path, subject), ordered


def _scan_header(shape: tuple[int, ...], affine: np.ndarray, path: Path | str, subject: str | None) -> ScanHeader:
    return ScanHeader((shape[0], shape[1], shape[2]), check_affine(affine, path, subject), "float32", scaled=True)


def _stack(images: list[_Image], path: Path | str, subject: str | None) -> tuple[list[_Image], np.ndarray]:
    """Slices in the order of their positions, and the affine to RAS millimetres.

    The columns are the row direction times the distance of columns, the column direction times the distance of rows,
    and the step from slice to slice (DICOM PS3.3, C.7.6.2.1.1).
    """
    turns = np.array([_numbers(image, _ORIENTATION, 6, path, subject) for image in images])
    places = np.array([_numbers(image, _POSITION, 3, path, subject) for image in images])
    if np.abs(turns - turns[0]).max() > _TURN_TOLERANCE:
        raise _uneven("slices that are not parallel", path, subject)
    row, column = turns[0][:3], turns[0][3:]
    heights = places @ np.cross(row, column)
    order = np.argsort(heights, kind="stable")
    steps = np.diff(heights[order])
    if len(steps) and steps.min() < _STEP_TOLERANCE_MM / 2:
        raise _uneven("several images at one position (echoes, b-values or time points)", path, subject)
    if len(steps) and np.ptp(steps) > _STEP_TOLERANCE_MM:
        raise _uneven(f"slices {steps.min():.2f} to {steps.max():.2f} mm apart: some are missing", path, subject)
    between_rows, between_columns = _numbers(images[0], _PIXEL_SPACING, 2, path, subject)
    span = places[order[-1]] - places[order[0]]
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = row * between_columns, column * between_rows
    affine[:3, 2] = span / (len(images) - 1) if len(images) > 1 else np.cross(row, column)
    affine[:3, 3] = places[order[0]]
    return [images[index] for index in order], to_ras(affine)


def _numbers(image: _Image, tag: str, count: int, path: Path | str, subject: str | None) -> np.ndarray:
    try:
        values = np.array([float(part) for part in image.tags.get(tag, "").split("\\")])
    except ValueError:
        values = np.empty(0)
    if len(values) != count:
        raise _fault(
            "a DICOM file does not say where its slice lies",
            "no position, orientation or pixel spacing",
            "files with ImagePositionPatient, ImageOrientationPatient and PixelSpacing",
            "export the series again, as MR images",
            path,
            subject,
        )
    return values


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
