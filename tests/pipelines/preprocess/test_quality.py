"""The QC page has every study: those that went through, those that failed, those that never came in."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lesionlab.data.stage import run_stage
from lesionlab.data.subject_store import StudyResult
from lesionlab.imaging.nifti import write_volume
from lesionlab.imaging.volume import Volume
from lesionlab.parameters import CohortOptions, RunOptions
from lesionlab.pipelines.preprocess.quality import QC_COLUMNS, qc_page

AFFINE = np.diag([2.0, 2.0, 5.0, 1.0])
STAGES = ["coregister", "brain", "bias", "standardize", "grid", "atlas", "tissues"]


def study(job: tuple[str, str]) -> StudyResult:
    """A brain of 12 x 12 x 6 voxels; ``b`` fails at the stage brain."""
    name, stage = job
    if (name, stage) == ("b", "brain"):
        raise ValueError("this is no brain")
    if stage == "tissues":
        return StudyResult()
    brain = np.zeros((12, 12, 6), np.uint8)
    brain[2:10, 2:10, 1:5] = 1
    image = brain * np.linspace(0.1, 0.9, brain.size, dtype=np.float32).reshape(brain.shape)
    masks = {"brain": brain} if stage not in ("coregister", "atlas") else {}
    return StudyResult({key: Volume(data, AFFINE) for key, data in {"T1w": image, **masks}.items()}, {"measure": 3.0})


@pytest.fixture
def made(tmp_path):
    stores = {}
    left = ["a_1", "b", "c"]
    for stage in STAGES:
        jobs = {name: (name, stage) for name in left}
        stores[stage] = run_stage(
            tmp_path / stage, jobs, study, fingerprints=dict.fromkeys(left, ""), allow_failures=True
        )
        left = stores[stage].studies()
    raw = np.random.default_rng(0).uniform(1, 9, (12, 12, 6)).astype(np.float32)
    write_volume(Volume(raw, AFFINE), tmp_path / "raw.nii.gz")
    rows = [("a", "a_1", "train"), ("b", "b", "validation"), ("c", "c", "test")]
    cohort = pd.DataFrame(
        [(*row, "T1w", str(tmp_path / "raw.nii.gz")) for row in rows],
        columns=["subject", "study", "split", "sequence", "path"],
    )
    quarantine = pd.DataFrame(
        [("z_1", "z", "f", "the file is truncated"), ("z_1", "z", "f", "a sequence is missing")],
        columns=["study", "subject", "file", "reason"],
    )
    names = ("coregistered", "brains", "unbiased", "standardized", "gridded", "atlases", "tissues")
    return qc_page(
        cohort,
        quarantine,
        **dict(zip(names, stores.values(), strict=True)),
        cohort_options=CohortOptions(name="trial", layout="trial"),
        sequences=["T1w"],
        reference="T1w",
        lesion_classes=["edema"],
        run_options=RunOptions(workers=1),
    )


def test_measures_of_every_stage_by_study(made):
    measures = made[0]
    assert list(measures) == QC_COLUMNS
    counts = measures.groupby("stage")["study"].nunique().to_dict()
    assert counts == {"coregister": 3, "brain": 2, "bias": 2, "standardize": 2, "grid": 2, "atlas": 2}
    assert set(measures.loc[measures["study"] == "a_1", "subject"]) == {"a"}
    assert set(measures["value"]) == {3.0}


def test_the_page_tells_of_all_studies_and_why_some_are_missing(made):
    page = made[1]
    for said in ("a_1", "z_1", "this is no brain", "the file is truncated", "a sequence is missing", "trial"):
        assert said in page, said
    assert page.count("<img") == 2  # strips of the two studies that went through


def test_the_summary_counts_them(made):
    summary = made[2]
    assert summary["studies"] == 4 and sorted(summary["failed"]) == ["b", "z_1"]
    assert summary["failed"]["z_1"] == ("the file is truncated", "a sequence is missing")
