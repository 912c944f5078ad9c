"""Linear transforms: 4 x 4 matrices in RAS mm, and the files in which ANTs and ITK keep them."""

from __future__ import annotations

import io

import numpy as np
from scipy.io import loadmat, savemat
from scipy.io.matlab import MatReadError

from lesionlab.errors import InputError

#: Changes RAS to LPS coordinates and back: the first two axes change sign.
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])

_TYPE = "AffineTransform_double_3_3"
_LINEAR = ("AffineTransform", "MatrixOffsetTransformBase")
_CENTRE = "fixed"
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
    """A linear transform as ITK's ``.mat`` file, as ``antsApplyTransforms -t`` and ANTsPy read it.

    Args:
        matrix: ``(4, 4)`` RAS mm, point of the fixed image -> point of the moving image. With this file ANTs brings
            the moving image to the fixed image's grid; with the file of the inverse matrix, or with ``-t [file,1]``,
            the other way.

    Returns:
        a MATLAB file of level 4 in double precision: the same bytes for the same matrix.
    """
    lps = RAS_TO_LPS @ matrix @ RAS_TO_LPS
    parameters = np.concatenate([lps[:3, :3].ravel(), lps[:3, 3]])
    content = io.BytesIO()
    variables = {_TYPE: parameters[:, None], _CENTRE: np.zeros((_DIMENSIONS, 1))}
    savemat(content, variables, format="4")
    return content.getvalue()


def matrix_from_itk_bytes(content: bytes) -> np.ndarray:
    """Read a linear transform from ITK's ``.mat`` file, ours or one of antsRegistration: ``(4, 4)``, RAS mm.

    Raises:
        InputError: it is no such file, or holds another kind of transform.
    """
    try:
        variables = loadmat(io.BytesIO(content))
        middle = np.asarray(variables.pop(_CENTRE), dtype=np.float64).ravel()
        names = [name for name in variables if name.startswith(_LINEAR)]
        numbers = np.asarray(variables[names[0]], dtype=np.float64).ravel()
    except (MatReadError, ValueError, TypeError, KeyError, IndexError, NotImplementedError):
        numbers = middle = np.empty(0)
    if (numbers.size, middle.size) != (_PARAMETERS, _DIMENSIONS):
        raise InputError(
            "the transform file holds no linear transform of ITK",
            given=f"{len(content)} bytes, in them {numbers.size} parameters and {middle.size} fixed ones",
            allowed=f"{_PARAMETERS} parameters (a matrix and a shift) and {_DIMENSIONS} fixed ones (its centre)",
            cure="write it anew with ANTs or ITK as AffineTransform, to a .mat file",
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
