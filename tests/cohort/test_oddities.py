"""What stands out in a table of files, each case made by hand."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from lesionlab.cohort.facts import scans_table
from lesionlab.cohort.oddities import find_oddities


def scans(count: int = 6, **changes: Any) -> pd.DataFrame:
    """Scans alike but for their voxels; the changes go to the last."""
    rows = [
        {
            "study": f"s{number}",
            "subject": f"s{number}",
            "visit": "",
            "sequence": "T1w",
            "file": f"s{number}/T1w.nii.gz",
            "grid": "240 x 240 x 155",
            "spacing_mm": "1 x 1 x 1",
            "orientation": "LPS",
            "oblique_deg": 0.0,
            "shortest_mm": 155.0,
            "largest_voxel_mm": 1.0,
            "dtype": "int16",
            "minimum": 0.0,
            "maximum": 1000.0 + number,
            "codes": "",
            "checksum": f"{number:08x}",
            "oddities": "",
        }
        for number in range(count)
    ]
    rows[-1].update(changes)
    return scans_table(rows)


def found(table: pd.DataFrame) -> list[tuple[str, str]]:
    return [(row.study, row.oddity) for row in find_oddities(table).itertuples()]


def test_scans_alike_are_not_odd() -> None:
    assert found(scans()) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"orientation": "RAS"}, "orientation RAS, where 83% of the sequence have LPS"),
        ({"dtype": "uint8"}, "dtype uint8, where 83% of the sequence have int16"),
        ({"shortest_mm": 60.0}, "covers 60 mm only along one axis"),
        ({"largest_voxel_mm": 12.0}, "voxels of up to 12 mm"),
        ({"maximum": 2e5}, "intensities up to 2e+05, the median of the sequence is 1002"),
        ({"maximum": 1.0}, "intensities up to 1, the median of the sequence is 1002"),
        ({"minimum": -5.0}, "negative intensities (from -5), which most of the sequence have not"),
        ({"oddities": "one; of two clauses"}, "one; of two clauses"),
        ({"sequence": "lesion mask"}, "the lesion mask is empty"),
    ],
)
def test_one_that_differs_is_odd(changes: dict[str, Any], words: str) -> None:
    assert found(scans(**changes)) == [("s5", words)]


def test_among_few_nothing_is_usual_but_coverage_still_counts() -> None:
    assert found(scans(4, orientation="RAS", dtype="uint8", maximum=1e9)) == []
    assert found(scans(4, shortest_mm=9.0)) == [("s3", "covers 9 mm only along one axis")]


def test_the_same_voxels_twice_are_told_of_both() -> None:
    twins = scans(checksum=f"{0:08x}", maximum=1000.0)
    assert found(twins) == [("s0", "the same voxels as s5 T1w"), ("s5", "the same voxels as s0 T1w")]


def test_a_mixed_cohort_has_no_usual_orientation() -> None:
    table = scans(6)
    table.loc[:2, "orientation"] = "RAS"
    assert found(table) == []
