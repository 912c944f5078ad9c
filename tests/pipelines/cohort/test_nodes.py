"""Scans, cohort and split as nodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from threadpoolctl import threadpool_limits

from lesionlab.cohort.layout import Layout
from lesionlab.cohort.splits import SplitOptions
from lesionlab.datasets import Folders
from lesionlab.errors import InputError
from lesionlab.imaging.formats.nifti import write_volume
from lesionlab.imaging.phantom import PhantomOptions, make_subject
from lesionlab.imaging.volume import Volume
from lesionlab.parameters import CohortOptions, RunOptions
from lesionlab.pipelines.cohort.nodes import describe_cohort, find_studies, provide_scans, split
from lesionlab.stages.subject_store import SubjectStore

REPOSITORY = Path(__file__).parents[3]
ONE = RunOptions(workers=1)
COARSE = PhantomOptions(subjects=1, sequences=("T1w",), work_mm=4.0, in_plane_mm=6.0, slice_mm=10.0)
FILES = CohortOptions(name="mine", layout="mine", root="/somewhere")
LAYOUT = Layout(
    study="{subject}",
    sequences={"T1w": "{subject}/t1.nii.gz"},
    lesion={"file": "{subject}/seg.nii.gz", "drawn_on": "T1w", "codes": {1: "lesion"}},
)


@pytest.fixture
def folders(tmp_path) -> Folders:
    return Folders(tmp_path / "data", tmp_path / "data" / "fold0")


@pytest.fixture
def scans(tmp_path) -> dict[str, str]:
    """Three subjects with lesions of 1, 2 and 3 voxels of 0.1 ml."""
    rng = np.random.default_rng(0)
    affine = np.diag([5.0, 5.0, 4.0, 1.0])
    for number, subject in enumerate("abc", start=1):
        folder = tmp_path / "scans" / subject
        folder.mkdir(parents=True)
        lesion = np.zeros((4, 4, 4), np.uint8)
        lesion[0, 0, :number] = 1
        write_volume(Volume(rng.random((4, 4, 4), np.float32), affine), folder / "t1.nii.gz")
        write_volume(Volume(lesion, affine), folder / "seg.nii.gz")
    return {"root": str(tmp_path / "scans"), "source": "files"}


def found(scans, **changed):
    given = {"cohort": FILES, "layouts": {"mine": LAYOUT}, "sequences": ["T1w"], "lesion_classes": ["lesion"]}
    return find_studies(scans, **{**given, **changed}, run_options=ONE)


def test_a_study_is_kept_without_what_it_may_lack(scans):
    sequences = {"T1w": "{subject}/t1.nii.gz", "T2w": "{subject}/t2.nii.gz"}
    layout = Layout.model_validate(LAYOUT.model_dump() | {"sequences": sequences})
    given = {"layouts": {"mine": layout}, "sequences": ["T1w", "T2w"]}
    with pytest.raises(InputError, match="T2w is missing"):
        found(scans, **given)
    kept, _, quarantine, *_ = found(scans, **given, cohort=FILES.model_copy(update={"may_lack": ["T2w"]}))
    assert list(kept["study"]) == ["a", "b", "c"] and quarantine.empty


# --- scans ------------------------------------------------------------------------------------------------------------


def test_the_users_scans_are_taken_where_they_lie(folders):
    assert provide_scans(folders, FILES, COARSE, ONE, 0) == {"root": "/somewhere", "source": "files"}
    assert not folders.workspace.exists()


def test_a_folder_that_is_not_given_is_asked_for(folders):
    nowhere = FILES.model_copy(update={"root": None})
    with pytest.raises(InputError, match=r"cohort's folder is not given.*--params=cohort\.root="):
        provide_scans(folders, nowhere, COARSE, ONE, 0)


def test_the_phantoms_scans_are_made_with_their_truth_and_only_once(folders):
    phantom = CohortOptions(name="phantom", layout="phantom", source="phantom")
    scans = provide_scans(folders, phantom, COARSE, ONE, 3)
    assert scans == {"root": str(folders.workspace / "01_raw" / "phantom"), "source": "phantom"}
    store = SubjectStore(folders.workspace / "01_raw" / "phantom")
    with threadpool_limits(1):  # as a worker has: BLAS adds up in another order with more, for another last bit
        expected = make_subject(0, COARSE, 3)
    assert store.studies() == ["phantom-01"] and store.names("phantom-01") == ["T1w", "lesion"]
    np.testing.assert_array_equal(store.volume("phantom-01", "T1w").data, expected.scans["T1w"].data)
    np.testing.assert_array_equal(store.volume("phantom-01", "lesion").data, expected.lesion.data)
    for name, truth in expected.truth.items():
        np.testing.assert_array_equal(store.volume("phantom-01", f"truth/{name}").data, truth.data)
    np.testing.assert_allclose(store.record("phantom-01")["transforms"]["T1w"], expected.transforms["T1w"])
    written = (store.root / "phantom-01" / "T1w.nii.gz").stat().st_mtime_ns
    provide_scans(folders, phantom, COARSE, ONE, 3)
    assert (store.root / "phantom-01" / "T1w.nii.gz").stat().st_mtime_ns == written
    provide_scans(folders, phantom, COARSE, ONE, 4)
    assert not np.array_equal(store.volume("phantom-01", "T1w").data, expected.scans["T1w"].data)


def test_a_smaller_phantom_leaves_no_subject_of_a_larger_one(folders):
    phantom = CohortOptions(name="phantom", layout="phantom", source="phantom")
    root = Path(provide_scans(folders, phantom, COARSE.model_copy(update={"subjects": 2}), ONE, 0)["root"])
    assert {path.name for path in root.glob("[!.]*") if path.is_dir()} == {"phantom-01", "phantom-02"}
    provide_scans(folders, phantom, COARSE, ONE, 0)
    # What is hidden is found by no layout.
    assert {path.name for path in root.glob("[!.]*") if path.is_dir()} == {"phantom-01"}


# --- studies ----------------------------------------------------------------------------------------------------------


def test_good_studies_with_their_lesion_volume(scans):
    studies, _, quarantine, *_ = found(scans)
    assert studies["study"].tolist() == ["a", "b", "c"] and quarantine.empty
    assert studies["lesion_ml"].tolist() == pytest.approx([0.1, 0.2, 0.3])


def test_a_study_that_cannot_be_used_is_quarantined(scans, tmp_path):
    (tmp_path / "scans" / "b" / "t1.nii.gz").write_bytes(b"no scan")
    studies, _, quarantine, *_ = found(scans)
    assert studies["study"].tolist() == ["a", "c"]
    assert quarantine["study"].tolist() == ["b"] and "t1.nii.gz" in quarantine["reason"].item()


def test_limits_of_the_cohort_reach_the_check(scans):
    with pytest.raises(InputError, match=r"(?s)no study.*4 slices, too few"):
        found(scans, cohort=FILES.model_copy(update={"min_slices": 5}))
    with pytest.raises(InputError, match=r"(?s)no study.*larger than scans may be"):
        found(scans, cohort=FILES.model_copy(update={"max_scan_mb": 1e-4}))


def test_the_cohort_is_described_after_a_round_through_its_tables(scans, tmp_path):
    """The catalog keeps the tables as CSV: what the page is made of must survive it, a subject called 007 too."""
    (tmp_path / "scans" / "b").rename(tmp_path / "scans" / "007")
    (tmp_path / "scans" / "c" / "t1.nii.gz").write_bytes(b"no scan")
    _, _, quarantine, *tables = found(scans)
    entries = yaml.safe_load((REPOSITORY / "conf/base/catalog.yml").read_text(encoding="utf-8"))
    read = []
    for name, table in (("cohort_scans", tables[0]), ("cohort_presence", tables[1]), ("quarantine", quarantine)):
        table.to_csv(tmp_path / name, index=False)
        read.append(pd.read_csv(tmp_path / name, **entries[name]["load_args"]))
    oddities, page = describe_cohort(*read, FILES, {"mine": LAYOUT})
    assert "007" in page and "1 of 3" not in page and "3 of 3" in page
    assert page.count("<b>c</b>") == 1  # quarantined
    assert set(oddities["study"]) == {"007", "a"}  # heads of 20 mm; the scan of c could not be read


def test_a_layout_that_does_not_exist(scans):
    with pytest.raises(InputError, match=r"no layout of that name.*did you mean 'mine'"):
        found(scans, cohort=FILES.model_copy(update={"layout": "mein"}))


def test_a_cohort_without_any_lesion(scans, tmp_path):
    affine = np.diag([5.0, 5.0, 4.0, 1.0])
    for subject in "abc":
        write_volume(Volume(np.zeros((4, 4, 4), np.uint8), affine), tmp_path / "scans" / subject / "seg.nii.gz")
    with pytest.raises(InputError, match=r"no .*lesion"):
        found(scans)
    studies, *_ = found(scans, cohort=FILES.model_copy(update={"require_lesions": False}))
    assert len(studies) == 3


# --- split ------------------------------------------------------------------------------------------------------------


def test_the_split_is_the_cohorts_and_is_written_down(scans):
    cohort, record = split(*found(scans)[:2], SplitOptions(test=1, validation=1, strata=1))
    assert sorted(cohort["split"]) == ["test", "train", "validation"]
    pd.testing.assert_frame_equal(record[["subject", "split"]], cohort[["subject", "split"]], check_like=True)
    assert record["lesion_ml"].tolist() == pytest.approx([0.1, 0.2, 0.3])


def test_an_empty_training_split_is_refused(scans):
    with pytest.raises(InputError, match="the training split is empty"):
        split(*found(scans)[:2], SplitOptions(test=2, validation=1))
