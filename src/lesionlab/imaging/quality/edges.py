"""Whether the edges of two images lie in the same places: alignment judged without any intensity metric.

Each image becomes a field of edge directions (normalised gradient fields: Haber and Modersitzki, Intensity gradient
based registration and fusion of multi-modal images, MICCAI 2006). Directions have no sign, so a border agrees whether
it is bright to dark or dark to bright; they are correlated as traceless tensors, and at every shift at once by Fourier
transforms. Mutual information, by which scans are registered, has no part in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage

from lesionlab.imaging.quality.lattice import Lattice

SMOOTHING_MM = 3.0  # of the gradients
REACH_MM = 15.0  # shifts looked at, along each axis
_WEIGHTS = ((0, 0, 1.0), (1, 1, 1.0), (2, 2, 1.0), (0, 1, 2**0.5), (0, 2, 2**0.5), (1, 2, 2**0.5))
_TINY = 1e-12
_FEWEST = 50  # voxels of a block that can be placed


@dataclass(frozen=True)
class Agreement:
    """How well edges agree.

    Attributes:
        score: correlation of the edge directions at the best shift, at most 1; near 0 for unrelated images.
        here: the same without a shift.
        shift_mm: ``(3,)`` R, A, S: where the moving image's edges lie, seen from the fixed one's.
    """

    score: float
    here: float
    shift_mm: np.ndarray


def directions(image: np.ndarray, lattice: Lattice) -> np.ndarray:
    """Edge directions of an image on the lattice: ``(6, X, Y, Z)`` float32, the parts of a traceless tensor.

    Edges weaker than the median within the brain count little: they are noise.
    """
    sigma = SMOOTHING_MM / lattice.step
    gradient = np.stack([_derivative(image, sigma, axis) for axis in range(3)])
    size = np.sqrt((gradient**2).sum(axis=0))
    floor = np.median(size[lattice.brain]) if lattice.brain.any() else 0.0
    gradient /= np.sqrt(size**2 + floor**2 + _TINY)
    third = (gradient**2).sum(axis=0) / 3
    parts = [weight * (gradient[i] * gradient[j] - (third if i == j else 0)) for i, j, weight in _WEIGHTS]
    return np.stack(parts).astype(np.float32)


def _derivative(image: np.ndarray, sigma: float, axis: int) -> np.ndarray:
    order = [1 if at == axis else 0 for at in range(3)]
    return ndimage.gaussian_filter(image.astype(np.float32), sigma, order=order, mode="nearest", truncate=3)


def agreement(fixed: np.ndarray, moving: np.ndarray, mask: np.ndarray, step: float) -> Agreement:
    """Compare the edge directions of two images within a mask, at every shift up to :data:`REACH_MM`.

    Args:
        fixed: directions as :func:`directions` gives them.
        moving: likewise, on the same lattice.
        mask: bool, not empty; at least the reach away from the lattice's border.
        step: voxel of the lattice, mm.
    """
    reach = int(REACH_MM / step)
    window = _window(mask, reach)
    inside = mask[window]
    scores = _scores(fixed[(slice(None), *window)] * inside, moving[(slice(None), *window)], inside, reach)
    at = np.unravel_index(int(scores.argmax()), scores.shape)
    shift = np.array([_vertex(scores, at, axis) - reach for axis in range(3)]) * step
    return Agreement(float(scores[at]), float(scores[reach, reach, reach]), shift)


def _window(mask: np.ndarray, reach: int) -> tuple[slice, ...]:
    """The mask's bounding box, wider by the reach."""
    (box,) = ndimage.find_objects(mask.astype(np.uint8))
    return tuple(slice(max(0, side.start - reach), side.stop + reach) for side in box)


def _scores(fixed: np.ndarray, moving: np.ndarray, mask: np.ndarray, reach: int) -> np.ndarray:
    """The correlation at every shift: ``(2 r + 1,) * 3``."""
    shape = [fft.next_fast_len(side, real=True) for side in mask.shape]
    parts = [fft.rfftn(array, s=shape, axes=(1, 2, 3)) for array in (fixed, moving)]
    product = (np.conj(parts[0]) * parts[1]).sum(axis=0)
    strength = fft.rfftn((moving**2).sum(axis=0), s=shape)
    energy = np.conj(fft.rfftn(mask.astype(np.float32), s=shape)) * strength
    near = np.ix_(*(np.arange(-reach, reach + 1) % side for side in shape))
    common, there = (fft.irfftn(part, s=shape)[near] for part in (product, energy))
    return common / np.sqrt(np.maximum(there, _TINY) * float((fixed**2).sum()) + _TINY)  # type: ignore[no-any-return]


def _vertex(scores: np.ndarray, at: tuple[np.intp, ...], axis: int) -> float:
    """Where a parabola through the best value and its two neighbours is highest, in voxels."""
    middle = int(at[axis])
    if not 0 < middle < scores.shape[axis] - 1:
        return float(middle)
    index: list[slice | int] = [int(place) for place in at]
    index[axis] = slice(middle - 1, middle + 2)
    line = scores[tuple(index)]
    bend = line[0] - 2 * line[1] + line[2]
    return middle + (float(0.5 * (line[0] - line[2]) / bend) if bend < 0 else 0.0)


def edge_offset(fixed: np.ndarray, moving: np.ndarray, brain: np.ndarray, step: float) -> float:
    """How far two images lie apart, mm: the median over the brain's eight octants of each one's best shift.

    Octants feel a turn, which leaves the middle where it is. NaN where no octant is large enough.
    """
    apart = [np.linalg.norm(agreement(fixed, moving, block, step).shift_mm) for block in octants(brain)]
    return float(np.median(apart)) if apart else float("nan")


def octants(brain: np.ndarray) -> Iterator[np.ndarray]:
    """The brain cut at its middle along each axis: up to eight masks, those that hold enough."""
    places = np.argwhere(brain)
    middle = (places.min(axis=0) + places.max(axis=0) + 1) // 2
    for sides in np.ndindex(2, 2, 2):
        block = np.zeros_like(brain)
        index = tuple(slice(m, None) if side else slice(0, m) for m, side in zip(middle, sides, strict=True))
        block[index] = brain[index]
        if np.count_nonzero(block) >= _FEWEST:
            yield block
