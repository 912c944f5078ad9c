"""Lesion masks: from the codes of a file to the configured lesion classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from lesionlab.data.layout import BACKGROUND_CODE
from lesionlab.data.names import listed
from lesionlab.errors import InputError
from lesionlab.imaging.nifti import read_volume
from lesionlab.imaging.volume import Volume

#: Whole numbers that hold any label code.
MASK_DTYPE = np.int16

#: Label of the first lesion class: 0 is background and 1 normal brain (which a lesion mask does not hold).
FIRST_LESION_LABEL = 2


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
    labels = {code: lesion_labels(classes)[name] for code, name in codes.items()}
    known = {BACKGROUND_CODE: 0, **dict.fromkeys(ignore, 0), **labels}
    lowest = int(volume.data.min())
    shifted = volume.data.astype(np.int32) - lowest
    found = [int(code) + lowest for code in np.flatnonzero(np.bincount(shifted.ravel()))]
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
    table = np.array([known.get(code, 0) for code in range(lowest, found[-1] + 1)], dtype=np.uint8)
    return volume.like(table[shifted])


def lesion_volumes(lesion: Volume, classes: Sequence[str]) -> dict[str, float]:
    """The volume of each lesion class, ml."""
    counts = np.bincount(lesion.data.ravel(), minlength=FIRST_LESION_LABEL + len(classes))
    return {name: float(counts[label]) * lesion.voxel_ml for name, label in lesion_labels(classes).items()}
