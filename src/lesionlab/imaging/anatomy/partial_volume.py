"""Voxels that hold two tissues: shared out by their intensity."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_PRESENT = 0.3  # share from which a voxel belongs to a tissue at all
_FEW = 20  # voxels
_OUTER = 20.0  # percentile


def mixed(shares: Sequence[np.ndarray], images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Share out what two neighbouring tissues hold of a voxel by where its intensity lies between theirs.

    Atropos gives a voxel the wider class: the rim of the cortex, half grey matter, half fluid, becomes fluid. Here
    the sum of two tissues' shares stays, CSF with GM first, then GM with WM, and is split linearly (as in Shattuck et
    al. 2001, doi:10.1006/nimg.2000.0730), averaged over the images.

    Args:
        shares: CSF, GM, WM, of one shape, summing to 1 in the brain.
        images: of the same shape.

    Returns:
        the three shares anew, with the same sum.
    """
    result = [share.copy() for share in shares]
    for one, other in ((0, 1), (1, 2)):
        both = result[one] + result[other]
        part = _between(shares[one], shares[other], images)
        if part is not None:
            result[one], result[other] = both * part, both * (1 - part)
    return result


def _between(one: np.ndarray, other: np.ndarray, images: Sequence[np.ndarray]) -> np.ndarray | None:
    """The first tissue's part of a mixture of two, by intensity: 0 to 1; None where one of them is nowhere pure."""
    first, second = _pure(one), _pure(other)
    if first.sum() < _FEW or second.sum() < _FEW:
        return None
    parts = []
    for image in images:
        b = float(np.median(image[second]))
        # Half of the fluid's voxels are rim themselves: the fluid's own intensity lies farther out.
        darker = np.median(image[first]) < b
        a = float(np.percentile(image[first], _OUTER if darker else 100 - _OUTER))
        if a != b:
            parts.append(np.clip((b - image) / (b - a), 0, 1))
    return np.mean(parts, axis=0).astype(np.float32) if parts else None


def _pure(share: np.ndarray) -> np.ndarray:
    present = share > _PRESENT
    return present & (share > np.median(share[present])) if present.any() else present
