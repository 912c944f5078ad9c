"""Lesion masks: from the codes of a file to the configured lesion classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lesionlab.cohort.layout import BACKGROUND_CODE
from lesionlab.errors import InputError
from lesionlab.imaging import formats
from lesionlab.imaging.formats import ScanHeader
from lesionlab.imaging.formats.nifti import as_labels, read_volume
from lesionlab.imaging.volume import Volume
from lesionlab.names import listed

#: Whole numbers that hold any label code.
MASK_DTYPE = np.int16

#: Label of the first lesion class: 0 is background and 1 normal brain (which a lesion mask does not hold).
FIRST_LESION_LABEL = 2


class CodeCounts(NamedTuple):
    """What a mask holds."""

    header: ScanHeader
    voxels: dict[int, int]  # by code

    @property
    def volumes(self) -> dict[int, float]:
        """The volume of each code, ml."""
        voxel_ml = abs(float(np.linalg.det(self.header.affine[:3, :3]))) / 1000.0
        return {code: count * voxel_ml for code, count in self.voxels.items()}


def lesion_labels(classes: Sequence[str]) -> dict[str, int]:
    """The label of each lesion class: 2, 3, ... in the configured order."""
    return {name: FIRST_LESION_LABEL + index for index, name in enumerate(classes)}


def read_lesion(
    path: Path | str,
    codes: Mapping[int, str],
    classes: Sequence[str],
    *,
    ignore: Iterable[int] = (),
    subject: str | None = None,
) -> Volume:
    """Read a lesion mask and turn the file's codes into lesion labels.

    Args:
        path: a NIfTI file of whole numbers.
        codes: the file's code to a lesion class; several codes may stand for one class. 0 is background.
        classes: the lesion classes in their configured order.
        ignore: codes that count as background.
        subject: named in the error, where there is one.

    Returns:
        ``(X, Y, Z)`` uint8: 0 no lesion, 2 the first lesion class, 3 the second, and so on.

    Raises:
        InputError: the file cannot be read, or holds a code that is neither in ``codes`` nor in ``ignore``.
    """
    volume = read_volume(path, subject=subject, dtype=MASK_DTYPE)
    lowest, counts = _counts(volume.data)
    found = [int(code) + lowest for code in np.flatnonzero(counts)]
    known = check_codes(found, codes, ignore, path, subject)
    labels = lesion_labels(classes)
    table = np.zeros(len(counts), dtype=np.uint8)
    for code in found:
        table[code - lowest] = labels[known[code]] if known[code] else 0
    return volume.like(table[volume.data.astype(np.int32) - lowest])


def count_codes(path: Path | str, subject: str | None = None, limit_mb: float | None = None) -> CodeCounts:
    """How many voxels of a mask have which code.

    Raises:
        InputError: the file cannot be read, holds fractions, or is larger than the limit.
    """
    scan = formats.load(path, subject, limit_mb)
    lowest, counts = _counts(as_labels(scan.values, path, subject))
    return CodeCounts(scan.header, {int(code) + lowest: int(counts[code]) for code in np.flatnonzero(counts)})


def check_codes(
    found: Iterable[int], codes: Mapping[int, str], ignore: Iterable[int], path: Path | str, subject: str | None
) -> dict[int, str]:
    """The lesion class of every known code, "" for background; raises ``InputError`` for codes that are not known."""
    known = {BACKGROUND_CODE: "", **dict.fromkeys(ignore, ""), **codes}
    unknown = [code for code in found if code not in known]
    if unknown:
        raise InputError(
            f"the lesion mask holds unknown label code{'s' if len(unknown) > 1 else ''} {listed(unknown)}",
            given=f"codes {listed(found)}",
            allowed=f"codes {listed(sorted(known))}",
            cure="give the code a class in the layout's `lesion.codes`, or add it to `lesion.ignore`",
            subject=subject,
            file=path,
        )
    return known


def class_volumes(counts: CodeCounts, known: Mapping[int, str], classes: Sequence[str]) -> dict[str, float]:
    """The volume of each lesion class, ml, from a mask's counts and what :func:`check_codes` returned."""
    volumes = dict.fromkeys(classes, 0.0)
    for code, ml in counts.volumes.items():
        if known[code]:
            volumes[known[code]] += ml
    return volumes


def _counts(data: np.ndarray) -> tuple[int, np.ndarray]:
    """The lowest code, and the number of voxels of each code from it on."""
    if data.dtype == np.uint8:
        return 0, np.bincount(data.ravel(order="K"))
    lowest = int(data.min())
    return lowest, np.bincount((data.astype(np.int32) - lowest).ravel(order="K"))
