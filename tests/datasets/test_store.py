"""Folders count as there only when they are whole."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from kedro.io import DatasetError
from PIL import Image

from lesionlab.datasets import SliceStoreDataset, SubjectStoreDataset
from lesionlab.errors import InputError
from lesionlab.stages.lock import StoreLock, keep_locks, release_locks
from lesionlab.stages.stage import run_stage
from lesionlab.stages.subject_store import StudyResult, SubjectStore

KINDS = [SubjectStoreDataset, SliceStoreDataset]


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_folder_does_not_exist_and_is_not_loaded(kind, tmp_path):
    dataset = kind(filepath=str(tmp_path / "nothing"))
    assert not dataset.exists()
    with pytest.raises(DatasetError, match=r"missing or not whole\. Cure: run the pipeline that makes it"):
        dataset.load()


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_without_receipt_or_manifest_is_not_whole(kind, tmp_path):
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "method.pt").write_text("weights")
    dataset = kind(filepath=str(tmp_path / "half"))
    assert not dataset.exists()
    with pytest.raises(DatasetError, match="not whole"):
        dataset.load()


# --- stages -----------------------------------------------------------------------------------------------------------


def test_a_whole_stage_is_loaded(subject_store):
    dataset = SubjectStoreDataset(filepath=str(subject_store.root))
    assert dataset.exists()
    assert dataset.load().studies() == ["a", "b"]


def test_a_stage_that_lost_a_file_is_not_whole(subject_store):
    dataset = SubjectStoreDataset(filepath=str(subject_store.root))
    (subject_store.root / "b" / "T1w.nii.gz").unlink()
    assert not dataset.exists()
    with pytest.raises(DatasetError, match="not whole"):
        dataset.load()


def test_a_stage_with_a_shortened_file_is_not_whole(subject_store):
    file = subject_store.root / "b" / "T1w.nii.gz"
    file.write_bytes(file.read_bytes()[:-1])
    assert not SubjectStoreDataset(filepath=str(subject_store.root)).exists()


def test_a_stage_whose_run_did_not_end_is_not_whole(subject_store):
    manifest = subject_store.root / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"complete": False}))
    assert not SubjectStoreDataset(filepath=str(subject_store.root)).exists()


def test_saving_checks_that_the_node_wrote_the_catalogs_folder(subject_store, tmp_path):
    SubjectStoreDataset(filepath=str(subject_store.root)).save(subject_store)
    elsewhere = SubjectStoreDataset(filepath=str(tmp_path / "other"))
    with pytest.raises(DatasetError, match=r"the node wrote .*stage, the catalog expects .*other"):
        elsewhere.save(subject_store)


def test_saving_checks_that_the_folder_is_whole(tmp_path):
    (tmp_path / "half").mkdir()
    with pytest.raises(DatasetError, match="not whole after its node ran"):
        SubjectStoreDataset(filepath=str(tmp_path / "half")).save(SubjectStore(tmp_path / "half"))


def test_a_relative_folder_is_the_same_folder(subject_store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    SubjectStoreDataset(filepath="stage").save(subject_store)


def test_a_failed_study_leaves_the_stage_whole_where_that_is_allowed(tmp_path):
    keys = {"a": "1", "b": "2"}
    run_stage(tmp_path / "s", {"a": True, "b": False}, only_good, fingerprints=keys, allow_failures=True)
    assert SubjectStoreDataset(filepath=str(tmp_path / "s")).load().studies() == ["a"]


def only_good(good: bool) -> StudyResult:
    if not good:
        raise ValueError("broken")
    return StudyResult()


def test_preview_of_a_stage_is_the_middle_plane(subject_store):
    preview = SubjectStoreDataset(filepath=str(subject_store.root)).preview()
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(preview))).convert("L"), np.float64)
    # Plane 2 of 5 rises from the patient's right to left; pictures show the right on their left.
    assert picture.shape[0] < picture.shape[1]  # 4 rows of 6 pixels, enlarged
    row = picture[picture.shape[0] // 2]
    assert row[1] < row[-2] and (np.diff(row[1:-1]) >= 0).all()
    assert picture[1:-1, 1:-1].std(axis=0).max() == 0


# --- slices -----------------------------------------------------------------------------------------------------------


def test_a_whole_slice_store_is_loaded(slice_folder):
    dataset = SliceStoreDataset(filepath=str(slice_folder))
    assert dataset.exists()
    store = dataset.load()
    assert len(store) == 30 and store.fingerprint == "f00d"
    dataset.save(store)


def test_a_slice_store_that_lost_an_array_is_not_whole(slice_folder):
    (slice_folder / "atlas.npy").unlink()
    assert not SliceStoreDataset(filepath=str(slice_folder)).exists()


def test_preview_of_slices_is_the_head_of_their_table(slice_folder):
    preview = SliceStoreDataset(filepath=str(slice_folder)).preview()
    assert len(preview["data"]) == 20
    plane = preview["columns"].index("plane")
    assert [row[plane] for row in preview["data"][:3]] == ["0", "1", "2"]
    json.dumps(preview)


@pytest.mark.parametrize("kind", KINDS)
def test_the_folder_is_named_in_messages(kind):
    assert kind(filepath="data/somewhere")._describe() == {"filepath": str(Path("data/somewhere"))}


def test_a_store_that_a_run_has_loaded_stays_as_it_is_to_the_runs_end(subject_store):
    dataset = SubjectStoreDataset(filepath=str(subject_store.root))
    other = StoreLock(subject_store.root)
    dataset.load()  # outside a run, in a notebook for example
    other.own()
    other.release()
    keep_locks()
    try:
        dataset.load()
        with pytest.raises(InputError, match="another run is at work"):
            other.own()
    finally:
        release_locks()
    other.own()
    other.release()
