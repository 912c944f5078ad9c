"""Scores of each preprocessing stage against the phantom's truth. NumPy arrays in, floats out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

TRUTH_COLUMNS = ["stage", "subject", "measure", "value"]
EVERYBODY = "all"  # the "subject" of a measure that compares subjects with one another
RANGE_PERCENTILES = (2.0, 98.0)  # the range of a brain's intensities, free of outliers
PURE = 0.9  # partial volume above which a voxel counts as pure tissue


def truth_rows(stage: str, subject: str, measures: Mapping[str, float]) -> pd.DataFrame:
    """Rows of truth.csv: columns stage, subject, measure, value."""
    rows = [(stage, subject, measure, float(value)) for measure, value in measures.items()]
    return pd.DataFrame(rows, columns=TRUTH_COLUMNS)


def target_registration_error(estimated: np.ndarray, true: np.ndarray, points: np.ndarray) -> float:
    """Mean distance in mm between where two transforms send the same points.

    Args:
        estimated: ``(4, 4)``, RAS mm of the reference scan to RAS mm of the moving scan.
        true: ``(4, 4)``, likewise.
        points: ``(N, 3)`` RAS mm in the reference scan, for example the centres of the brain's voxels.
    """
    return float(np.linalg.norm(_misplacement(estimated, true, points), axis=1).mean())


def target_registration_error_voxels(
    estimated: np.ndarray, true: np.ndarray, points: np.ndarray, affine: np.ndarray
) -> float:
    """The same in voxels of the moving scan, whose ``(4, 4)`` affine (voxels to RAS mm) is given."""
    inverse = np.linalg.inv(np.asarray(affine, np.float64)[:3, :3])
    return float(np.linalg.norm(_misplacement(estimated, true, points) @ inverse.T, axis=1).mean())


def _misplacement(estimated: np.ndarray, true: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Difference vectors ``(N, 3)``, mm in the moving scan."""
    difference = np.asarray(estimated, np.float64) - np.asarray(true, np.float64)
    return np.asarray(points, np.float64) @ difference[:3, :3].T + difference[:3, 3]


def voxel_centres(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """RAS mm ``(N, 3)`` of the voxels of a mask ``(X, Y, Z)`` with this ``(4, 4)`` affine."""
    affine = np.asarray(affine, np.float64)
    return np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3]


def brain_dice(estimated: np.ndarray, true: np.ndarray) -> float:
    """Dice of two brain masks on one grid; non-zero is brain."""
    return _dice(np.asarray(estimated) > 0, np.asarray(true) > 0)


def image_correlation(one: np.ndarray, other: np.ndarray, mask: np.ndarray) -> float:
    """Pearson correlation of two images inside a mask; 0 where one of them is constant there.

    For the atlas: the template aligned to a left-out subject against that subject's own image.

    Raises:
        ValueError: the mask holds fewer than two voxels.
    """
    inside = np.asarray(mask) > 0
    if np.count_nonzero(inside) < 2:
        raise ValueError("a correlation needs a mask of at least two voxels")
    first, second = (np.asarray(image, np.float64)[inside] for image in (one, other))
    first, second = first - first.mean(), second - second.mean()
    norm = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / norm if norm > 0 else 0.0


def bias_correlation(estimated_log: np.ndarray, true_log: np.ndarray, mask: np.ndarray) -> float:
    """Pearson correlation of two bias fields inside a mask, both in log units (the log of a multiplicative field)."""
    return image_correlation(estimated_log, true_log, mask)


def white_matter_mean(image: np.ndarray, white_matter: np.ndarray) -> float:
    """Mean intensity where the true partial volume of white matter exceeds 0.9.

    Raises:
        ValueError: there is no such voxel.
    """
    pure = np.asarray(white_matter) > PURE
    if not pure.any():
        raise ValueError(f"no voxel has a white matter fraction above {PURE}")
    return float(np.asarray(image, np.float64)[pure].mean())


def intensity_range(image: np.ndarray, mask: np.ndarray) -> float:
    """Width of the 2nd to 98th percentile of the intensities inside a mask."""
    low, high = np.percentile(np.asarray(image, np.float64)[np.asarray(mask) > 0], RANGE_PERCENTILES)
    return float(high - low)


def relative_spread(means: Sequence[float], ranges: Sequence[float]) -> float:
    """Standard deviation between subjects of a tissue's mean, over the subjects' mean intensity range.

    The range makes the spread independent of the unit, so that scans before and after standardization compare.
    """
    return float(np.std(np.asarray(means, np.float64)) / np.mean(np.asarray(ranges, np.float64)))


def spread_ratio(
    before: Sequence[float], after: Sequence[float], ranges_before: Sequence[float], ranges_after: Sequence[float]
) -> float:
    """`relative_spread` of white matter's mean after standardization over that before; below 1 is a gain.

    All four hold one value per subject, in one order.
    """
    return relative_spread(after, ranges_after) / relative_spread(before, ranges_before)


def tissue_dice(
    estimated: Mapping[str, np.ndarray], true: Mapping[str, np.ndarray], mask: np.ndarray
) -> dict[str, float]:
    """Dice of each tissue inside a mask (the brain without the lesion); each voxel goes to its most probable tissue.

    Args:
        estimated: probabilities by tissue (CSF, GM, WM), ``(X, Y, Z)``.
        true: partial volumes by the same tissues.
        mask: non-zero where voxels count.
    """
    names = list(true)
    inside = np.asarray(mask) > 0
    ours = np.argmax([np.asarray(estimated[name])[inside] for name in names], axis=0)
    theirs = np.argmax([np.asarray(true[name])[inside] for name in names], axis=0)
    return {name: _dice(ours == k, theirs == k) for k, name in enumerate(names)}


def _dice(one: np.ndarray, other: np.ndarray) -> float:
    total = np.count_nonzero(one) + np.count_nonzero(other)
    return 2 * np.count_nonzero(one & other) / total if total else 1.0
