"""How far a value lies from those of the other studies."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

# 1.4826 makes the median absolute deviation, 1.2533 the mean absolute deviation, estimate a normal distribution's
# standard deviation; beyond 3.5 a value is an outlier (Iglewicz and Hoaglin, How to detect and handle outliers, 1993).
MAD_TO_SD = 1.4826
MEAN_AD_TO_SD = 1.2533
FEWEST = 5  # values: among fewer, a median absolute deviation says nothing of a spread


def robust_z(
    values: Sequence[float] | np.ndarray, grain: float = 0.0, among: Sequence[bool] | np.ndarray | None = None
) -> np.ndarray:
    """How far each value lies from the median, in robust standard deviations, with its sign: (x - median) / spread.

    The spread is 1.4826 times the median absolute deviation, but at least the grain. Where more than half of the
    values are equal (MAD 0) and there is no grain, 1.2533 times the mean absolute deviation takes its place; where all
    are equal, or fewer than five decide, every distance is 0 (infinite for a value unlike equal ones that decide
    without it). A value that is NaN or infinite is infinitely far (NaN: +inf).

    Args:
        values: one per study.
        grain: the smallest spread that means something.
        among: bool per study: whose values give median and spread; all by default.
    """
    numbers = np.asarray(values, dtype=float)
    finite = np.isfinite(numbers)
    distances = np.where(numbers == -math.inf, -math.inf, math.inf)
    decisive = finite if among is None else finite & np.asarray(among, dtype=bool)
    if decisive.sum() < FEWEST:
        distances[finite] = 0.0
        return distances
    middle = np.median(numbers[decisive])
    away = np.abs(numbers[decisive] - middle)
    spread = max(MAD_TO_SD * float(np.median(away)), grain) or MEAN_AD_TO_SD * float(away.mean())
    distances[finite] = _in_spreads(numbers[finite] - middle, spread)
    return distances


def _in_spreads(away: np.ndarray, spread: float) -> np.ndarray:
    """Distances in units of the spread; where there is none, another value is infinitely far."""
    if spread > 0:
        return away / spread
    return np.where(away == 0, 0.0, np.copysign(math.inf, away))
