"""Bad input stops what it spoils and nothing else, and is told. The cohort comes from files and leaves one out."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lesionlab.imaging.formats.nifti import read_volume, write_volume
from lesionlab.parameters import merged
from lesionlab.slices.store import SliceStore
from lesionlab.stages.subject_store import SubjectStore

TRUNCATED, SPOILT = "phantom-02", "phantom-04"


@pytest.fixture(scope="module")
def faulty(project, new_project, tiny):
    """The heads as a user's own files, one of them truncated; run to its end, with what the run said."""
    values = {
        **tiny,
        "cohort": {"name": "files", "source": "files", "layout": "tiny", "root": "scans"},
        "splits": {"protocol": "leave_one_out", "fold": 1, "validation": 0, "strata": 1},
        "unet": merged(tiny["unet"], {"training": {"best": None, "trained": "last"}}),
        "bias": {"enabled": False},
        "atlas": {"iterations": 0, "affine_iterations": [5], "align": "none"},
    }
    made = new_project("faulty", values, project.root / "mlflow.db")
    shutil.copytree(project.data / "01_raw" / "phantom", made.root / "scans")
    file = made.root / "scans" / TRUNCATED / "FLAIR.nii.gz"
    file.write_bytes(file.read_bytes()[:-1000])
    return made, made.run("--pipelines=cgsamr_augment_eval", code=1)


@pytest.fixture(scope="module")
def fold(faulty) -> Path:
    return faulty[0].data / "fold1"


def test_the_run_ends_with_an_error_that_names_study_file_and_cure(faulty):
    said = faulty[1].stderr
    last = said[said.rindex("QuarantineError") :]
    assert "1 study was left out" in last
    assert f"subject {TRUNCATED}, file scans/{TRUNCATED}/FLAIR.nii.gz" in last
    assert "truncated" in last and "Cure: copy or convert the file again" in last
    assert "run.allow_failures=true" in last


def test_the_study_is_quarantined_with_its_reason(faulty):
    quarantine = pd.read_csv(faulty[0].data / "02_intermediate" / "quarantine.csv")
    assert quarantine["study"].tolist() == [TRUNCATED]
    assert "truncated" in quarantine["reason"].item()


def test_the_others_are_done_to_the_end(faulty, fold):
    others = ["phantom-01", "phantom-03", "phantom-04"]
    assert SubjectStore(faulty[0].data / "03_primary" / "coregister").studies() == others
    assert SubjectStore(fold / "03_primary" / "grid").studies() == others
    table = pd.read_csv(fold / "08_reporting" / "cgsamr" / "tables" / "augmentation.csv")
    assert len(table) == 3 * 4 * 7
    report = (fold / "08_reporting" / "cgsamr" / "report.html").read_text(encoding="utf-8")
    quality = (fold / "08_reporting" / "qc" / "index.html").read_text(encoding="utf-8")
    for page in (report, quality):
        assert TRUNCATED in page and "truncated" in page


def test_leave_one_out_tests_the_folds_subject(fold):
    # The second of the three subjects that are left, by name.
    split = pd.read_csv(fold / "02_intermediate" / "split.csv").set_index("subject")["split"].to_dict()
    assert split == {"phantom-01": "train", "phantom-03": "test", "phantom-04": "train"}


def test_scans_whose_truth_nobody_knows_are_not_scored_against_it(fold):
    truth = pd.read_csv(fold / "08_reporting" / "qc" / "truth.csv")
    assert list(truth) == ["stage", "subject", "measure", "value"] and truth.empty


def test_a_stage_that_is_off_hands_the_images_on(faulty):
    before = SubjectStore(faulty[0].data / "03_primary" / "brain").volumes("phantom-01")
    after = SubjectStore(faulty[0].data / "03_primary" / "bias").volumes("phantom-01")
    for name in ("T1w", "FLAIR", "brain", "lesion"):
        np.testing.assert_array_equal(before[name].data, after[name].data)


def test_failures_that_are_allowed_end_well_and_are_shown(faulty, fold):
    project = faulty[0]
    file = project.root / "scans" / SPOILT / "truth" / "brain.nii.gz"
    mask = read_volume(file)
    small = np.zeros_like(mask.data)
    small[: mask.shape[0] // 2, : mask.shape[1] // 4] = mask.data[: mask.shape[0] // 2, : mask.shape[1] // 4]
    assert 0 < np.count_nonzero(small) * mask.voxel_ml < 400  # less than any brain has
    write_volume(mask.like(small), file)
    stopped = project.run("--pipelines=preprocess", code=1)
    # The others went on to the end; the run's end says whom it left out, and why.
    assert f"\n  {SPOILT}: brains: " in stopped.stderr and "plausible" in stopped.stderr
    assert SubjectStore(fold / "03_primary" / "grid").studies() == ["phantom-01", "phantom-03"]
    done = project.run("--pipelines=preprocess", "--params=run.allow_failures=true")
    assert f"left out: {TRUNCATED}" in done.stdout + done.stderr
    assert f"{SPOILT} failed and is left out" in done.stdout + done.stderr
    assert SubjectStore(fold / "03_primary" / "grid").studies() == ["phantom-01", "phantom-03"]
    slices = SliceStore(fold / "04_feature" / "slices")
    assert sorted(slices.table["subject"].unique()) == ["phantom-01", "phantom-03"]
    quality = (fold / "08_reporting" / "qc" / "index.html").read_text(encoding="utf-8")
    assert SPOILT in quality and "brain" in quality


def test_a_mistyped_parameter_stops_the_command_at_once(new_project, tiny):
    project = new_project("typo", tiny)
    said = project.run("--params=cgsamr.training.constnt=3", code=1)
    assert "cgsamr.training.constnt: no such parameter. Did you mean 'constant'?" in said.stderr
    assert "Traceback" not in said.stderr and not (project.root / "data").exists()
