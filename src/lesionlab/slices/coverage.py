"""How much of the lesions the slices hold that were cut."""

from __future__ import annotations

import pandas as pd

MM3_PER_ML = 1000.0
_SIDES = ["spacing_x", "spacing_y", "spacing_z"]


def share_in_slices(slices: pd.DataFrame, cohort: pd.DataFrame) -> float:
    """The part of the lesions' volume that lies in the slices, as the masks have it; NaN where none has any.

    Args:
        slices: rows of a slice store's table, columns ``study``, ``pixels_<class>`` and ``spacing_x`` to ``spacing_z``
            in mm.
        cohort: the checked table, columns ``study`` and ``lesion_ml``.

    Returns:
        A share in [0, 1]. Resampling may make a lesion a little larger; such a share counts as 1.
    """
    known = cohort.drop_duplicates("study").set_index("study")["lesion_ml"]
    pixels = slices[[column for column in slices if str(column).startswith("pixels_")]].sum(axis=1)
    cut = float((pixels * slices[_SIDES].prod(axis=1)).sum()) / MM3_PER_ML
    drawn = float(known.reindex(slices["study"].unique()).sum())
    return min(cut / drawn, 1.0) if drawn else float("nan")
