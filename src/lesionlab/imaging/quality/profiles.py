"""How far a study's profile lies from the cohort's."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np

Profile = Sequence[Sequence[float]]


def profile_distances(found: Mapping[str, Profile]) -> dict[str, float]:
    """The distance of each study's profile from the cohort's median one.

    A profile is a table: rows are places, columns values at a place. A place's distance is the root mean square over
    its columns, a study's the median over its places, so that a lesion at one place does not decide. Values that are
    NaN are passed over.

    Args:
        found: study to profile, all of one shape.

    Returns:
        study to distance, in the profile's unit; NaN where nothing is left to compare.
    """
    if not found:
        return {}
    table = np.array(list(found.values()), np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a place that no study has is NaN, as it should be
        apart = table - np.nanmedian(table, axis=0)
        distances = np.nanmedian(np.sqrt(np.nanmean(apart**2, axis=2)), axis=1)
    return {study: float(value) for study, value in zip(found, distances, strict=True)}
