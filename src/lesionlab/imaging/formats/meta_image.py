"""MetaImage files (.mha, .mhd), as the BRATS 2015 challenge gave them out, by SimpleITK."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from lesionlab.imaging.formats.itk import affine_of, array_of, quiet
from lesionlab.imaging.formats.scan import (
    Scan,
    ScanHeader,
    check_affine,
    check_file,
    check_size,
    no_grey_values,
    three_axes,
    unreadable,
)

SUFFIXES = (".mha", ".mhd")
_KIND = "MetaImage"


def is_meta_image(file: Path) -> bool:
    """Whether a file's name says that it is a MetaImage."""
    return file.suffix.lower() in SUFFIXES


def look(file: Path, path: Path | str, subject: str | None) -> ScanHeader:
    """Read the header alone; see :func:`lesionlab.imaging.formats.look`."""
    check_file(file, path, subject)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    try:
        with file.open("rb"), quiet():
            reader.ReadImageInformation()
    except (RuntimeError, OSError) as error:
        raise unreadable(_KIND, error, path, file.stat().st_size, subject) from error
    if reader.GetNumberOfComponents() > 1:
        raise no_grey_values(f"{reader.GetNumberOfComponents()} components", path, subject)
    shape = three_axes(tuple(reader.GetSize()), path, subject)
    affine = check_affine(affine_of(reader), path, subject)
    return ScanHeader(shape, affine, sitk.GetPixelIDValueAsString(reader.GetPixelID()))


def load(file: Path, path: Path | str, subject: str | None, limit_mb: float | None) -> Scan:
    """Read a scan; see :func:`lesionlab.imaging.formats.load`."""
    header = look(file, path, subject)
    check_size(header.shape, limit_mb, path, subject)
    try:
        with quiet():
            data = array_of(sitk.ReadImage(str(file)))
    except (RuntimeError, MemoryError) as error:
        raise unreadable(_KIND, error, path, file.stat().st_size, subject) from error
    return Scan(ScanHeader(header.shape, header.affine, np.dtype(data.dtype).name), data.reshape(header.shape))
