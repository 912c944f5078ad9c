"""BIDS folders: sessions, entities, sidecars, derivatives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lesionlab.cohort.checks import read_cohort
from lesionlab.cohort.layout import find_layout
from lesionlab.cohort.table import Cohort, discover

MASK = "derivatives/manual/sub-1/ses-a/anat/sub-1_ses-a_space-orig_label-lesion_mask.nii.gz"


@pytest.fixture
def root(tmp_path: Path, write_image: Any) -> Path:
    """Subject 1 with two sessions, subject 2 without; a contrast agent by entity, by sidecar, and by none."""
    for name in (
        "sub-1/ses-a/anat/sub-1_ses-a_T1w.nii.gz",
        "sub-1/ses-a/anat/sub-1_ses-a_ce-gadolinium_T1w.nii.gz",
        "sub-1/ses-a/anat/sub-1_ses-a_FLAIR.nii.gz",
        "sub-1/ses-a/dwi/sub-1_ses-a_dwi.nii.gz",
        "sub-1/ses-b/anat/sub-1_ses-b_acq-mprage_T1w.nii.gz",
        "sub-1/ses-b/anat/sub-1_ses-b_acq-mprage_rec-norm_T1w.nii.gz",
        "sub-1/ses-b/anat/sub-1_ses-b_run-2_T1w.nii.gz",
        "sub-1/ses-b/anat/sub-1_ses-b_FLAIR.nii",
        "sub-2/anat/sub-2_T1w.nii.gz",
        "sub-2/anat/sub-2_FLAIR.nii.gz",
        "sub-2/anat/sub-2_part-phase_T1w.nii.gz",
    ):
        write_image(tmp_path / name)
    write_image(tmp_path / MASK, codes=[1, 1])
    sidecar = tmp_path / "sub-1/ses-b/anat/sub-1_ses-b_run-2_T1w.json"
    sidecar.write_text(json.dumps({"ContrastBolusIngredient": "GADOLINIUM", "PatientName": "unread"}))
    (tmp_path / "sub-2/anat/sub-2_T1w.json").write_text("{ no json")
    (tmp_path / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.9.0"}))
    return tmp_path


def found(root: Path, built_in: dict[str, Any], *sequences: str, **changes: Any) -> Cohort:
    return discover(root, find_layout(built_in, "bids").model_copy(update=changes), sequences)


def names(cohort: Cohort) -> dict[tuple[str, str], str]:
    rows = cohort.table.itertuples()
    return {(row.study, row.sequence): Path(row.path).name for row in rows}


def test_sessions_entities_and_derivatives(root: Path, built_in: dict[str, Any]) -> None:
    cohort = found(root, built_in, "T1w", "FLAIR")
    assert cohort.quarantine.empty
    assert names(cohort) == {
        ("1_a", "T1w"): "sub-1_ses-a_T1w.nii.gz",
        ("1_a", "FLAIR"): "sub-1_ses-a_FLAIR.nii.gz",
        ("1_b", "T1w"): "sub-1_ses-b_acq-mprage_T1w.nii.gz",  # the fewest entities; run-2 has an agent
        ("1_b", "FLAIR"): "sub-1_ses-b_FLAIR.nii",
        ("2", "T1w"): "sub-2_T1w.nii.gz",  # not the phase
        ("2", "FLAIR"): "sub-2_FLAIR.nii.gz",
    }
    masks = cohort.table.drop_duplicates("study").set_index("study")
    assert list(masks["lesion_path"]) == [str(root / MASK), "", ""]
    assert list(masks["lesion_on"]) == ["FLAIR", "", ""]
    assert list(masks["subject"]) == ["1", "1", "2"]


def test_a_contrast_agent_by_entity_and_by_sidecar(root: Path, built_in: dict[str, Any]) -> None:
    cohort = found(root, built_in, "T1ce", lesion=None)
    assert names(cohort) == {
        ("1_a", "T1ce"): "sub-1_ses-a_ce-gadolinium_T1w.nii.gz",
        ("1_b", "T1ce"): "sub-1_ses-b_run-2_T1w.nii.gz",
    }
    assert list(cohort.quarantine["study"]) == ["2"]
    assert "sub-2_FLAIR.nii.gz" in cohort.quarantine["reason"].item()


def test_a_session_may_lack_a_sequence(root: Path, built_in: dict[str, Any], write_image: Any) -> None:
    for run in (1, 2):
        write_image(root / f"sub-3/anat/sub-3_run-{run}_ce-gadolinium_T1w.nii.gz")
    write_image(root / "sub-3/anat/sub-3_FLAIR.nii.gz")
    cohort = discover(root, find_layout(built_in, "bids"), ["T1ce", "FLAIR"], may_lack=["T1ce"])
    assert ("2", "FLAIR") in names(cohort) and ("2", "T1ce") not in names(cohort)
    assert list(cohort.quarantine["study"]) == ["3"]  # which run is meant is another question
    assert "T1ce is ambiguous" in cohort.quarantine["reason"].item()


def test_two_runs_are_ambiguous_until_the_layout_says_which(root: Path, built_in: dict[str, Any], write_image) -> None:
    for run in (1, 2):
        write_image(root / f"sub-2/anat/sub-2_run-{run}_T2w.nii.gz")
    (root / "sub-1/ses-a/anat/sub-1_ses-a_T1w.nii.gz").rename(root / "sub-1/ses-a/anat/sub-1_ses-a_T2w.nii.gz")
    write_image(root / "sub-1/ses-b/anat/sub-1_ses-b_T2w.nii.gz")
    reason = found(root, built_in, "T2w", lesion=None).quarantine["reason"].item()
    assert "T2w is ambiguous" in reason and "run-2_T2w" in reason
    cohort = found(root, built_in, "T2w", lesion=None, sequences={"T2w": ("run-2_T2w", "T2w")})
    assert names(cohort)["2", "T2w"] == "sub-2_run-2_T2w.nii.gz"
    assert cohort.quarantine.empty


def test_the_files_are_read(root: Path, built_in: dict[str, Any]) -> None:
    result = read_cohort(root, find_layout(built_in, "bids"), ["T1w", "FLAIR"], ["lesion"])
    assert result.quarantine.empty
    assert result.lesions["ml"].item() == pytest.approx(2 * 0.008)
