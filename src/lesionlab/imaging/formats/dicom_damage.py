"""DICOM images that cannot be read: torn copies, dead links. Left out quietly they would shorten a stack."""

from __future__ import annotations

from pathlib import Path

import pydicom
from pydicom.uid import UID

from lesionlab.imaging.formats.dicom_planes import quiet_pydicom

_PREAMBLE_BYTES, _MAGIC = 128, b"DICM"  # PS3.10, 7.1
_SUFFIXES = (".dcm", ".ima")
_IMAGES = "Image Storage"  # how the standard's names of image classes end (PS3.6, A)


def is_damaged(file: Path) -> bool:
    """Whether a file that gave no image should have given one.

    So it is where the file cannot be opened, or is DICOM by its content or its name and says to be an image, or does
    not even say what it is. Reports, raw data, directories and other files hold no image and are not damaged.
    """
    try:
        with file.open("rb") as stream:
            is_dicom = stream.read(_PREAMBLE_BYTES + len(_MAGIC))[_PREAMBLE_BYTES:] == _MAGIC
    except OSError:
        return True
    return (is_dicom or file.suffix.lower() in _SUFFIXES) and _may_be_image(file)


def _may_be_image(file: Path) -> bool:
    try:
        with quiet_pydicom():
            data = pydicom.dcmread(file, stop_before_pixels=True, force=True)
            kind = data.file_meta.get("MediaStorageSOPClassUID") or data.get("SOPClassUID")
            return kind is None or UID(str(kind)).name.endswith(_IMAGES)
    except Exception:  # torn within: pydicom raises anything
        return True
