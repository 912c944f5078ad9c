"""How much two images on one grid have in common."""

from __future__ import annotations

import numpy as np

_EMPTY = 1e-12


def mutual_information(one: np.ndarray, other: np.ndarray, bins: int = 32, mask: np.ndarray | None = None) -> float:
    """Mutual information of two images of one shape, in nats, from their joint histogram.

    Args:
        one: any shape.
        other: the same shape.
        bins: per image, between its smallest and its largest value.
        mask: voxels to look at; all by default.

    Returns:
        at least 0; 0 where one image says nothing about the other.
    """
    if mask is not None:
        one, other = one[mask > 0], other[mask > 0]
    joint, _, _ = np.histogram2d(one.ravel(), other.ravel(), bins=bins)
    joint /= max(joint.sum(), _EMPTY)
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    seen = joint > 0
    return float((joint[seen] * np.log(joint[seen] / independent[seen])).sum())


def correlation(one: np.ndarray, other: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Pearson's correlation of two images of one shape, within a mask; 0 where one of them is constant."""
    if mask is not None:
        one, other = one[mask > 0], other[mask > 0]
    one, other = one.astype(np.float64) - one.mean(), other.astype(np.float64) - other.mean()
    scale = np.sqrt((one**2).sum() * (other**2).sum())
    return float((one * other).sum() / scale) if scale > _EMPTY else 0.0


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Overlap of two masks of one shape: twice what they share over what they hold, 0 to 1; 0 where both are empty."""
    one, other = one > 0, other > 0
    held = int(one.sum()) + int(other.sum())
    return float(2 * (one & other).sum() / held) if held else 0.0
