"""Linear transforms: 4 x 4 matrices in RAS mm, and the files in which ANTs and ITK keep them."""

from __future__ import annotations

import numpy as np

from lesionlab.errors import InputError

#: Changes RAS to LPS coordinates and back: the first two axes change sign.
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])

_HEADER = "#Insight Transform File V1.0"
_TYPE = "AffineTransform_double_3_3"
_PARAMETERS, _DIMENSIONS = 12, 3


def translation(shift: np.ndarray) -> np.ndarray:
    """The ``(4, 4)`` matrix of a shift ``(3,)``."""
    matrix = np.eye(4)
    matrix[:3, 3] = shift
    return matrix


def rotation_degrees(matrix: np.ndarray) -> float:
    """Angle of the rotation in a linear transform, 0 to 180 degrees (of its nearest rotation, where it is affine)."""
    left, _, right = np.linalg.svd(matrix[:3, :3])
    cosine = (np.trace(left @ right) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def itk_transform_bytes(matrix: np.ndarray) -> bytes:
    """A linear transform as ITK's text file (``.txt`` or ``.tfm``), as ``antsApplyTransforms -t`` reads it.

    Args:
        matrix: ``(4, 4)`` RAS mm, point of the fixed image -> point of the moving image. With this file ANTs brings
            the moving image to the fixed image's grid; with the file of the inverse matrix, or with ``-t [file,1]``,
            the other way.

    Returns:
        ASCII; 17 digits, so that reading gives the same numbers.
    """
    lps = RAS_TO_LPS @ matrix @ RAS_TO_LPS
    numbers = " ".join(repr(float(value)) for value in (*lps[:3, :3].ravel(), *lps[:3, 3]))
    lines = (_HEADER, "#Transform 0", f"Transform: {_TYPE}", f"Parameters: {numbers}", "FixedParameters: 0 0 0", "")
    return "\n".join(lines).encode("ascii")


def matrix_from_itk_bytes(content: bytes) -> np.ndarray:
    """Read a linear transform from ITK's text file, as :func:`itk_transform_bytes` writes it: ``(4, 4)``, RAS mm.

    Raises:
        InputError: it is no text file of one transform with a matrix of 9 and a shift of 3 numbers.
    """
    lines = (line.partition(":") for line in content.decode("ascii", errors="replace").splitlines())
    fields = {name.strip(): value.split() for name, colon, value in lines if colon}
    try:
        numbers, middle = (np.array(fields[name], dtype=np.float64) for name in ("Parameters", "FixedParameters"))
    except (KeyError, ValueError):
        numbers = middle = np.empty(0)
    if (numbers.size, middle.size) != (_PARAMETERS, _DIMENSIONS):
        raise InputError(
            "the transform file holds no linear transform of ITK in text form",
            given=f"{numbers.size} parameters and {middle.size} fixed ones",
            allowed=f"{_PARAMETERS} parameters (a matrix and a shift) and {_DIMENSIONS} fixed ones (its centre)",
            cure="write it anew with ANTs or ITK as AffineTransform, to a .txt or .tfm file",
        )
    return from_lps_parameters(numbers[:9].reshape(3, 3), numbers[9:], middle)


def from_lps_parameters(linear: np.ndarray, shift: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """ITK's ``y = A (x - c) + c + t`` in LPS as ``(4, 4)`` RAS matrix.

    Args:
        linear: A, ``(3, 3)``.
        shift: t, ``(3,)``.
        middle: c, ``(3,)``, ITK's fixed parameters.
    """
    lps = np.eye(4)
    lps[:3, :3] = linear
    lps[:3, 3] = shift + middle - linear @ middle
    return RAS_TO_LPS @ lps @ RAS_TO_LPS
