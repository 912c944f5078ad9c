"""How well a lesion was found: Dice, HD95, sensitivity, specificity, precision, per class and patient.

Conventions, so that no score is ever NaN:

* both masks empty: Dice, sensitivity and precision 1, HD95 0;
* a missed lesion (truth only) or an invented one (prediction only): Dice, sensitivity and precision 0, HD95 the
  diagonal of the volume in mm, and the metric ``missed`` or ``invented`` is 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import ndimage

FIRST_LESION = 2  # code of the first lesion class in a label map
WHOLE_LESION = "lesion"  # name of the union of all lesion classes
HAUSDORFF_PERCENTILE = 95.0


def dice(prediction: np.ndarray, truth: np.ndarray) -> float:
    """``2 |P and T| / (|P| + |T|)`` of two bool masks of one shape; 1 where both are empty."""
    total = np.count_nonzero(prediction) + np.count_nonzero(truth)
    return _ratio(2 * np.count_nonzero(prediction & truth), total, empty=1.0)


def sensitivity(prediction: np.ndarray, truth: np.ndarray) -> float:
    """``TP / (TP + FN)``; without truth 1 if nothing is predicted either, else 0."""
    empty = 0.0 if prediction.any() else 1.0
    return _ratio(np.count_nonzero(prediction & truth), np.count_nonzero(truth), empty)


def precision(prediction: np.ndarray, truth: np.ndarray) -> float:
    """``TP / (TP + FP)``; without prediction 1 if there is nothing to find either, else 0."""
    return sensitivity(truth, prediction)


def specificity(prediction: np.ndarray, truth: np.ndarray) -> float:
    """``TN / (TN + FP)`` over all pixels given, background included; 1 where the truth leaves no pixel free."""
    return _ratio(np.count_nonzero(~prediction & ~truth), np.count_nonzero(~truth), empty=1.0)


def hd95(prediction: np.ndarray, truth: np.ndarray, spacing: Sequence[float]) -> float:
    """95 % Hausdorff distance of two bool masks, mm: the larger of the two directed 95th percentiles.

    Distances run from surface voxels (those with a face neighbour outside the mask, or at the border of the array) to
    the nearest surface voxel of the other mask.

    Args:
        prediction: bool mask, any number of axes.
        truth: bool mask of the same shape.
        spacing: voxel size along each axis of the arrays, mm.

    Returns:
        mm; 0 where both masks are empty, the diagonal of the array where one is.
    """
    if not prediction.any() and not truth.any():
        return 0.0
    if not prediction.any() or not truth.any():
        return diagonal(prediction.shape, spacing)
    one, other = surface(prediction), surface(truth)
    # Nothing but the box of the two masks matters, and the transform is the costly part.
    box = ndimage.find_objects((one | other).astype(np.uint8))[0]
    one, other = one[box], other[box]
    there = ndimage.distance_transform_edt(~other, sampling=spacing)[one]
    back = ndimage.distance_transform_edt(~one, sampling=spacing)[other]
    return float(max(np.percentile(there, HAUSDORFF_PERCENTILE), np.percentile(back, HAUSDORFF_PERCENTILE)))


def surface(mask: np.ndarray) -> np.ndarray:
    """The voxels of a mask with a face neighbour outside it; the outside of the array counts as outside."""
    return mask & ~ndimage.binary_erosion(mask, ndimage.generate_binary_structure(mask.ndim, 1))


def diagonal(shape: Sequence[int], spacing: Sequence[float]) -> float:
    """Diagonal of an array in mm: the penalty for a lesion missed or invented, no distance can exceed it."""
    return float(np.linalg.norm(np.multiply(shape, spacing)))


def patient_scores(
    prediction: np.ndarray,
    truth: np.ndarray,
    spacing: Sequence[float],
    classes: Sequence[str],
    *,
    planes: Sequence[int] | None = None,
    keys: Mapping[str, object] | None = None,
) -> pd.DataFrame:
    """All segmentation scores of one patient, in three dimensions.

    Args:
        prediction: ``(N, H, W)`` label maps, 2.. the lesion classes.
        truth: ``(N, H, W)`` label maps.
        spacing: mm along the three axes of the arrays, that is (between planes, between rows, between columns).
        classes: lesion classes in the order of their codes; their union is scored as ``lesion`` unless a single class
            has that name.
        planes: number of each slice's plane, ascending, where planes are missing in between; they count as free of
            lesion.
        keys: further columns of every row, for example method, cohort, protocol, sequence, subject, seed.

    Returns:
        Long form: the keys, then class, metric, value. Metrics: dice, hd95, sensitivity, specificity, precision,
        missed, invented (the last two 0 or 1).

    Raises:
        ValueError: the shapes differ.
    """
    if prediction.shape != truth.shape or prediction.ndim != 3:
        raise ValueError(f"prediction {prediction.shape} and truth {truth.shape} must both be (N, H, W)")
    prediction, truth = (_with_gaps(stack, planes) for stack in (prediction, truth))
    rows = []
    for name, members in _members(classes).items():
        for metric, value in mask_scores(np.isin(prediction, members), np.isin(truth, members), spacing).items():
            rows.append({**(keys or {}), "class": name, "metric": metric, "value": value})
    return pd.DataFrame(rows)


def mask_scores(prediction: np.ndarray, truth: np.ndarray, spacing: Sequence[float]) -> dict[str, float]:
    """All scores of one pair of bool masks, by metric."""
    scores: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
        "dice": dice,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "precision": precision,
    }
    return {
        **{metric: score(prediction, truth) for metric, score in scores.items()},
        "hd95": hd95(prediction, truth, spacing),
        "missed": float(truth.any() and not prediction.any()),
        "invented": float(prediction.any() and not truth.any()),
    }


def _members(classes: Sequence[str]) -> dict[str, list[int]]:
    """Codes of each class, and of their union."""
    codes = {name: [code] for code, name in enumerate(classes, start=FIRST_LESION)}
    return codes if WHOLE_LESION in codes else {**codes, WHOLE_LESION: [c for (c,) in codes.values()]}


def _with_gaps(stack: np.ndarray, planes: Sequence[int] | None) -> np.ndarray:
    if planes is None:
        return stack
    places = np.asarray(planes) - min(planes)
    volume = np.zeros((int(places.max()) + 1, *stack.shape[1:]), stack.dtype)
    volume[places] = stack
    return volume


def _ratio(part: int | np.integer, whole: int | np.integer, empty: float) -> float:
    return float(part / whole) if whole else empty
