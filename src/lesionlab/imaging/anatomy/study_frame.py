"""Where a stripped study's brain lies, and the study moved so that its brain lies in the world's middle."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lesionlab.imaging.volume import Volume

Study = Mapping[str, Volume]


def brain_of(volumes: Study) -> np.ndarray:
    """Where any sequence lies above its background, which is its smallest value: ``(X, Y, Z)`` bool."""
    return np.any([volume.data > volume.data.min() for volume in volumes.values()], axis=0)


def brain_center(volumes: Study) -> np.ndarray:
    """The middle of the brain's bounding box, ``(3,)``, RAS mm."""
    inside = np.argwhere(brain_of(volumes))
    middle = (inside.min(axis=0) + inside.max(axis=0)) / 2
    affine = next(iter(volumes.values())).affine
    return np.asarray((affine @ [*middle, 1.0])[:3])


def brain_extent(volumes: Study) -> np.ndarray:
    """The brain's size along R, A and S, ``(3,)``, mm."""
    affine = next(iter(volumes.values())).affine
    return np.asarray(np.ptp(np.argwhere(brain_of(volumes)) @ affine[:3, :3].T, axis=0))


def shifted(volumes: Study, shift: np.ndarray) -> dict[str, Volume]:
    """The study with its world moved by ``shift``, ``(3,)``, RAS mm; the voxels stay as they are."""
    matrix = np.eye(4)
    matrix[:3, 3] = shift
    return {name: Volume(volume.data, matrix @ volume.affine) for name, volume in volumes.items()}
