from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from lesionlab.errors import InputError
from lesionlab.imaging.volume import Volume
from lesionlab.stages.stage import run_stage
from lesionlab.stages.subject_store import StudyResult, SubjectStore

AFFINE = np.diag([2.0, 2.0, 5.0, 1.0])


def work(value: int) -> StudyResult:
    volumes = {
        "T1w": Volume(np.full((3, 4, 5), value, np.float32), AFFINE),  # constant volumes are no fault in a store
        "lesion": Volume(np.arange(60, dtype=np.uint8).reshape(3, 4, 5), AFFINE),
    }
    return StudyResult(volumes, {"dice": value / 10, "error": math.nan}, {"transforms": {"T1w": np.eye(4)}, "n": value})


@pytest.fixture
def store(tmp_path: Path) -> SubjectStore:
    jobs = {"b": 1, "a": 2}
    return run_stage(tmp_path / "bias", jobs, work, fingerprints=dict.fromkeys(jobs, "f"))


def test_a_study_comes_back_as_it_was(store: SubjectStore) -> None:
    assert store.studies() == ["b", "a"]  # in the order of the jobs
    assert store.names("a") == ["T1w", "lesion"]
    volumes = store.volumes("a")
    assert {name: volume.data.dtype for name, volume in volumes.items()} == {"T1w": np.float32, "lesion": np.uint8}
    np.testing.assert_array_equal(volumes["T1w"].data, np.full((3, 4, 5), 2))
    np.testing.assert_array_equal(store.volume("b", "lesion").data.ravel(), np.arange(60))
    np.testing.assert_array_equal(volumes["lesion"].affine, AFFINE)
    assert store.record("a") == {"transforms": {"T1w": np.eye(4).tolist()}, "n": 2}


def test_quality_measures_are_one_long_table(store: SubjectStore) -> None:
    table = store.qc()
    assert list(table.columns) == ["study", "measure", "value"]
    assert list(table["study"]) == ["b", "b", "a", "a"]
    assert list(table.loc[table["measure"] == "dice", "value"]) == [0.1, 0.2]
    assert table.loc[table["measure"] == "error", "value"].isna().all()


def test_a_store_that_was_never_written_is_empty(tmp_path: Path) -> None:
    store = SubjectStore(tmp_path / "none")
    assert not store.complete()
    assert store.studies() == []
    assert store.qc().empty and store.failures().empty
    with pytest.raises(InputError, match=r"no such study.*run the stage again"):
        store.record("a")


def test_unknown_names_get_the_nearest(store: SubjectStore) -> None:
    with pytest.raises(InputError, match=r"subject a.*did you mean 'lesion'"):
        store.volume("a", "lesions")
    with pytest.raises(InputError, match=r"no such study.*Allowed: b, a"):
        store.volumes("c")


@pytest.mark.parametrize("damage", ["truncate", "delete", "folder"])
def test_a_damaged_study_is_not_taken_for_whole(store: SubjectStore, damage: str) -> None:
    assert store.complete()
    path = store.root / "a" / "T1w.nii.gz"
    if damage == "truncate":
        path.write_bytes(path.read_bytes()[:-5])
    elif damage == "delete":
        path.unlink()
    else:
        path.parent.rename(store.root / "elsewhere")
    assert not store.complete()
    assert store.studies() == ["b"]
    assert set(store.fingerprints()) == {"b"}


def test_the_manifest_says_what_was_expected_and_made_from_what(store: SubjectStore) -> None:
    manifest = json.loads((store.root / "manifest.json").read_text())
    assert manifest["stage"] == "bias"
    assert manifest["complete"] is True
    assert set(manifest["expected"]) == set(manifest["present"]) == {"a", "b"}
    assert set(manifest["present"]["a"]["files"]) == {"T1w.nii.gz", "lesion.nii.gz", "record.json", "qc.json"}
    assert manifest["code_version"]["package"]
    assert {"created", "options", "seed", "version"} <= set(manifest)


def with_file(value: int) -> StudyResult:
    return StudyResult(qc={"dice": float(value)}, files={"strip.webp": b"RIFF" + bytes([value])})


def test_files_are_kept_as_they_are_and_belong_to_the_study(tmp_path: Path) -> None:
    store = run_stage(tmp_path / "strips", {"a": 1}, with_file, fingerprints={"a": "f"})
    picture = store.root / "a" / "strip.webp"
    assert picture.read_bytes() == b"RIFF\x01"
    picture.unlink()
    assert store.studies() == []  # a study without one of its files is not whole


def test_what_is_kept_of_a_study_that_the_run_calls_failed(store: SubjectStore) -> None:
    # As a judge leaves it: the files are there, the manifest counts the study among the failed ones.
    manifest = store.manifest()
    assert manifest is not None
    keys = store.fingerprints()
    del manifest["present"]["a"]
    (store.root / "manifest.json").write_text(json.dumps({**manifest, "failed": {"a": "held back"}}), encoding="utf-8")
    assert store.studies() == ["b"] and store.kept() == keys
    assert store.measures("a")["dice"] == 0.2
    (store.root / "a" / "T1w.nii.gz").unlink()
    assert list(store.kept()) == ["b"]
    assert SubjectStore(store.root / "nowhere").kept() == {}
