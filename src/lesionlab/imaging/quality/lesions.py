"""Whether a lesion mask lies where the scans show something."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage

from lesionlab.imaging.quality.lattice import Lattice

SHELL_MM = (3.0, 9.0)  # around a lesion, what it is compared with
REACH_MM = 15.0
WITHIN = 0.9  # part of the shifted lesion that must lie in the brain
LEAST = 0.5  # voxels of the brain, below which there is nothing to compare
_TINY = 1e-6


@dataclass(frozen=True)
class LesionFit:
    """How a lesion mask fits the scans.

    Attributes:
        contrast: root mean square over the sequences of the difference between lesion and surroundings, in standard
            deviations of the brain.
        mirror_contrast: the same where the mirror image of the mask lies.
        offset_mm: how far away the mask would find the most contrast.
        gain: the contrast there over that here.
    """

    contrast: float
    mirror_contrast: float
    offset_mm: float
    gain: float


def lesion_fit(images: Mapping[str, np.ndarray], lesion: np.ndarray, other: np.ndarray, lattice: Lattice) -> LesionFit:
    """Compare the lesion's inside with its surroundings, where it is, in the mirror, and at every shift.

    Args:
        images: sequences on the lattice.
        lesion: share of each voxel that is lesion.
        other: the lesion mask in the brain's mirror.
        lattice: the brain.
    """
    normal = {name: _normal(image, lattice.brain) for name, image in images.items()}
    scores = _at_all_shifts(normal, lesion, lattice)
    reach = scores.shape[0] // 2
    here = float(scores[reach, reach, reach])
    at = np.array(np.unravel_index(int(scores.argmax()), scores.shape)) - reach
    mirror = _at_all_shifts(normal, other, lattice, reach_mm=0.0)
    offset = float(np.linalg.norm(at) * lattice.step)
    return LesionFit(here, float(mirror[0, 0, 0]), offset, float(scores.max() / max(here, _TINY)))


def _normal(image: np.ndarray, brain: np.ndarray) -> np.ndarray:
    values = image[brain]
    return np.where(brain, (image - values.mean()) / (values.std() + _TINY), 0).astype(np.float32)


def _at_all_shifts(
    images: Mapping[str, np.ndarray], lesion: np.ndarray, lattice: Lattice, reach_mm: float = REACH_MM
) -> np.ndarray:
    """The contrast at every shift up to the reach, ``(2 r + 1,) * 3``; 0 where the mask would leave the brain."""
    distance = ndimage.distance_transform_edt(lesion < 0.5, sampling=lattice.step)
    shell = ((distance > SHELL_MM[0]) & (distance <= SHELL_MM[1])).astype(np.float32)
    reach = int(reach_mm / lattice.step)
    seen = lattice.brain.astype(np.float32)
    weights = [_correlated(part, seen, reach) for part in (lesion, shell)]
    total = np.zeros_like(weights[0])
    for image in images.values():
        means = [
            _correlated(part, image, reach) / (weight + _TINY)
            for part, weight in zip((lesion, shell), weights, strict=True)
        ]
        total += (means[0] - means[1]) ** 2
    inside = (weights[0] >= WITHIN * lesion.sum()) & (weights[1] > LEAST)
    inside[(reach,) * 3] = weights[0][(reach,) * 3] > LEAST  # where it is, it counts however it lies
    return np.where(inside, np.sqrt(total / max(len(images), 1)), 0)


def _correlated(kernel: np.ndarray, image: np.ndarray, reach: int) -> np.ndarray:
    product = np.conj(fft.rfftn(kernel.astype(np.float32))) * fft.rfftn(image)
    full = fft.irfftn(product, s=image.shape)
    return full[np.ix_(*(np.arange(-reach, reach + 1) % side for side in image.shape))]
