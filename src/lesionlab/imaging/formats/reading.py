"""The one way to a scan on disk, whatever its format."""

from __future__ import annotations

from pathlib import Path

from lesionlab.imaging.formats import dicom_series, meta_image, nifti_file
from lesionlab.imaging.formats.scan import Scan, ScanHeader
from lesionlab.imaging.scan_path import scan_path


def look(path: Path | str, subject: str | None = None) -> ScanHeader:
    """Read a scan's header without its voxels.

    Args:
        path: a scan's path, see :mod:`lesionlab.imaging.scan_path`.
        subject: named in the error, where there is one.

    Raises:
        InputError: the scan is missing, unreadable, has not three dimensions, no place in space or no grey values.
    """
    scan = scan_path(path)
    if scan.series:
        return dicom_series.look(scan, path, subject)
    if meta_image.is_meta_image(scan.place):
        return meta_image.look(scan.place, path, subject)
    return nifti_file.look(scan, path, subject)


def load(path: Path | str, subject: str | None = None, limit_mb: float | None = None) -> Scan:
    """Read a scan with its voxels as stored.

    Args:
        path: a scan's path, see :mod:`lesionlab.imaging.scan_path`.
        subject: named in the error, where there is one.
        limit_mb: a scan that is larger as float32 is refused by its header.

    Raises:
        InputError: as :func:`look`, or the voxels are truncated, damaged or too many.
    """
    scan = scan_path(path)
    if scan.series:
        return dicom_series.load(scan, path, subject, limit_mb)
    if meta_image.is_meta_image(scan.place):
        return meta_image.load(scan.place, path, subject, limit_mb)
    return nifti_file.load(scan, path, subject, limit_mb)
