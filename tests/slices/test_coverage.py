"""How much of the lesions lies in the slices, by hand."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from lesionlab.slices.coverage import share_in_slices


def table(*rows: tuple[str, int, int]) -> pd.DataFrame:
    found = pd.DataFrame(rows, columns=["study", "pixels_edema", "pixels_tumor"])
    return found.assign(spacing_x=2.0, spacing_y=2.0, spacing_z=5.0)


def cohort(**millilitres: float) -> pd.DataFrame:
    rows = [(study, ml, name) for study, ml in millilitres.items() for name in ("T1w", "FLAIR")]
    return pd.DataFrame(rows, columns=["study", "lesion_ml", "sequence"])


def test_the_share_is_of_the_studies_that_were_cut():
    # 50 + 25 pixels of 20 cubic millimetres are 1.5 ml, of the 1 + 2 ml of a and b; c was not cut.
    slices = table(("a", 20, 5), ("a", 25, 0), ("b", 15, 10))
    assert share_in_slices(slices, cohort(a=1.0, b=2.0, c=9.0)) == pytest.approx(0.5)


def test_a_lesion_that_grew_on_another_grid_is_all_there():
    assert share_in_slices(table(("a", 100, 0)), cohort(a=1.9)) == 1.0


def test_without_any_lesion_there_is_no_share():
    assert math.isnan(share_in_slices(table(("a", 0, 0)), cohort(a=0.0)))
