"""Real scans by built-in layouts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from lesionlab.cohort.checks import CheckedCohort, CheckOptions, read_cohort
from lesionlab.cohort.layout import find_layout
from lesionlab.cohort.table import discover

REPOSITORY = Path(__file__).parents[2]
SCANS = Path(os.environ.get("LESIONLAB_REAL_SCANS", REPOSITORY.parent / "shared" / "data"))
BUILT_IN = yaml.safe_load((REPOSITORY / "conf/base/parameters/layouts.yml").read_text(encoding="utf-8"))["layouts"]

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        not SCANS.is_dir(), reason=f"no real scans in {SCANS}; LESIONLAB_REAL_SCANS names another folder for them"
    ),
]


def read(name: str, sequences: list[str], classes: list[str], require_lesions: bool = True) -> CheckedCohort:
    layout = find_layout(BUILT_IN, name)
    return read_cohort(
        SCANS / name, layout, sequences, classes, CheckOptions(require_lesions=require_lesions, workers=2)
    )


def test_brats2015() -> None:
    result = read("brats2015", ["FLAIR", "T1ce"], ["edema", "cavity", "tumor"])
    assert result.table["study"].nunique() == 4
    assert result.quarantine.empty
    assert (result.table["brain_path"] != "").all()
    # glioma: some tens of ml of oedema and of tumor in everyone
    assert result.lesions.query("lesion_class != 'cavity'")["ml"].between(5, 200).all()


def test_ms_raw() -> None:
    result = read("ms_raw", ["T1w", "FLAIR"], ["lesion"], require_lesions=False)
    assert dict(zip(result.table["study"], result.table["visit"], strict=True)) == {
        "patient01": "study2",
        "patient04": "study1",
        "patient20": "study2",
    }
    assert result.quarantine.empty and result.lesions.empty


def test_ms_raw_lacks_one_t2w() -> None:
    table, quarantine, _ = discover(SCANS / "ms_raw", find_layout(BUILT_IN, "ms_raw"), ["T1w", "T2w", "FLAIR"])
    assert sorted(table["study"].unique()) == ["patient01", "patient04"]
    assert "patient20: " not in quarantine["reason"].iloc[0]
    assert "subject patient20" in quarantine["reason"].iloc[0] and "study2_T2W" in quarantine["reason"].iloc[0]


def test_tcga_lgg() -> None:
    result = read("tcga_lgg", ["T1w", "T1ce", "T2w", "FLAIR"], ["edema", "cavity", "tumor"])
    assert list(result.table["study"].unique()) == ["TCGA-FG-6692"]
    assert result.quarantine.empty
    assert (result.lesions["ml"] > 0).sum() >= 2


def test_ms_mni() -> None:
    result = read("ms_mni", ["T1w", "T1ce", "T2w", "FLAIR"], ["lesion"])
    assert list(result.table["study"].unique()) == ["patient07", "patient26"]
    assert result.quarantine.empty
    assert result.lesions["ml"].between(0.1, 100).all()
