"""The way to ANTs and back: RAS volumes to LPS images, a tidy scratch folder, and the same result every time."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lesionlab.errors import InputError
from lesionlab.imaging.transforms import RAS_TO_LPS, itk_transform_bytes, matrix_from_itk_bytes
from lesionlab.imaging.volume import Volume

if TYPE_CHECKING:
    from ants import ANTsImage

DEFAULT_SEED = 7

_MAX_SHEAR = 5e-3  # of a direction cosine; headers round theirs to about 1e-7


def reproducible_environment(seed: int = DEFAULT_SEED) -> dict[str, str]:
    """Environment variables with which ANTs and ITK give the same output for the same input.

    They are read when the libraries start, so they are to be set before ``ants`` or ``SimpleITK`` is imported: in the
    environment of a worker process. One thread each: floating-point sums over threads change from run to run, and a
    worker process per core is faster than one process with many threads.

    Args:
        seed: of ANTs' metric sampling; ANTs takes 0 for "no seed".

    Raises:
        ValueError: the seed is not positive.
    """
    if seed <= 0:
        raise ValueError(f"ANTs takes a seed of at least 1, got {seed}")
    return {
        "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1",
        "ANTS_RANDOM_SEED": str(seed),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }


def ensure_reproducible(seed: int = DEFAULT_SEED) -> None:
    """Set :func:`reproducible_environment` in this process where its user has set nothing; call before ITK starts."""
    for name, value in reproducible_environment(seed).items():
        os.environ.setdefault(name, value)


def to_ants(volume: Volume) -> ANTsImage:
    """A volume as ANTs image (float32), LPS geometry, same voxel order.

    Raises:
        InputError: the affine shears or is singular; ITK has no such images.
    """
    ants = load_ants()
    lps = RAS_TO_LPS @ volume.affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    direction = _nearest_rotation(lps[:3, :3] / np.where(spacing > 0, spacing, 1))
    return ants.from_numpy(
        np.ascontiguousarray(volume.data, dtype=np.float32),
        origin=lps[:3, 3].tolist(),
        spacing=spacing.tolist(),
        direction=direction,
    )


def matrix_from_ants(path: str | Path | None) -> np.ndarray:
    """Read a linear transform file of ANTs as ``(4, 4)`` float64, RAS mm: point of the fixed image -> moving image."""
    if path is None:
        raise ValueError("the registration left no linear transform")
    return matrix_from_itk_bytes(Path(path).read_bytes())


def write_matrix(matrix: np.ndarray, path: str | Path) -> str:
    """Write a ``(4, 4)`` RAS matrix as transform file of ANTs, the inverse of :func:`matrix_from_ants`."""
    Path(path).write_bytes(itk_transform_bytes(matrix))
    return str(path)


@contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder, also for what ANTsPy writes on its own; it leaves its transforms behind otherwise."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="lesionlab-") as folder:
        tempfile.tempdir = folder
        try:
            yield Path(folder)
        finally:
            tempfile.tempdir = before


def load_ants() -> Any:
    """The ``ants`` module, with the environment set that makes it reproducible."""
    # Late: the import takes a second, and the environment has to be set first.
    ensure_reproducible()
    import ants

    return ants


def _nearest_rotation(direction: np.ndarray) -> np.ndarray:
    """The orthonormal matrix nearest to the direction cosines of a header, which are rounded to float32 there."""
    left, sizes, right = np.linalg.svd(direction)
    if np.abs(sizes - 1).max() > _MAX_SHEAR:
        raise InputError(
            "the scan's axes are not at right angles to each other, or a voxel has no size",
            given=f"direction cosines {np.round(direction, 3).tolist()}",
            allowed=f"axes at right angles within {_MAX_SHEAR:g}",
            cure="resample the scan onto a rectangular grid, or convert it again without gantry tilt",
        )
    return left @ right
