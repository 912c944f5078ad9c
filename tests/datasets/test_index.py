"""Lists of folders that several trials share: a folder counts while it is the one that was listed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from kedro.io import DatasetError

from lesionlab.datasets import SliceStoresDataset, TrainingRunsDataset
from lesionlab.slices.store import SliceStore
from lesionlab.stages.artifact import seal
from lesionlab.training.runs import TrainingRun


def training(root: Path, fingerprint: str = "f00d", content: str = "weights") -> TrainingRun:
    """A finished training."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "method.pt").write_text(content)
    seal(root, fingerprint)
    return TrainingRun(root)


@pytest.fixture
def listed(tmp_path) -> TrainingRunsDataset:
    """Two trainings, as a trial has listed them."""
    dataset = TrainingRunsDataset(filepath=str(tmp_path / "05_model_input" / "mine" / "segmenters.json"))
    models = tmp_path / "06_models"
    dataset.save({"real/seed-0": training(models / "real" / "0"), "real/seed-1": training(models / "real" / "1", "b")})
    return dataset


def first(tmp_path: Path) -> Path:
    return tmp_path / "06_models" / "real" / "0"


def test_trainings_come_back_by_name_in_their_order(listed, tmp_path):
    assert listed.exists()
    runs = listed.load()
    assert list(runs) == ["real/seed-0", "real/seed-1"]
    assert all(isinstance(run, TrainingRun) for run in runs.values())
    assert runs["real/seed-0"].root.resolve() == first(tmp_path)


def test_slice_stores_come_back_by_name(slice_folder, tmp_path):
    dataset = SliceStoresDataset(filepath=str(tmp_path / "list.json"))
    dataset.save({"cgsamr": SliceStore(slice_folder)})
    (store,) = dataset.load().values()
    assert isinstance(store, SliceStore) and len(store) == 30 and store.fingerprint == "f00d"


def test_no_training_at_all_is_a_list_too(tmp_path):
    dataset = SliceStoresDataset(filepath=str(tmp_path / "list.json"))
    dataset.save({})
    assert dataset.exists() and dataset.load() == {}


def test_a_list_that_nobody_wrote_is_not_loaded(tmp_path):
    dataset = TrainingRunsDataset(filepath=str(tmp_path / "list.json"))
    assert not dataset.exists()
    with pytest.raises(DatasetError, match=r"list\.json is missing\. Cure: run the pipeline that makes it"):
        dataset.load()


def damaged(root: Path) -> None:
    (root / "method.pt").write_text("w")


def lost(root: Path) -> None:
    (root / "method.pt").unlink()


def removed(root: Path) -> None:
    for path in root.iterdir():
        path.unlink()
    root.rmdir()


def made_anew(root: Path) -> None:
    training(root, "another fingerprint")


@pytest.mark.parametrize("change", [damaged, lost, removed, made_anew])
def test_a_folder_that_is_no_longer_what_was_listed_is_refused_by_name(listed, tmp_path, change):
    change(first(tmp_path))
    assert not listed.exists()
    with pytest.raises(DatasetError, match=r"real/seed-0: .*06_models/real/0 is missing, not whole, or was made anew"):
        listed.load()


def test_a_folder_made_anew_from_the_same_things_is_the_same(listed, tmp_path):
    training(first(tmp_path), content="weight2")
    assert listed.exists() and listed.load()


def test_a_folder_that_is_not_whole_is_not_listed(tmp_path):
    run = training(tmp_path / "run")
    lost(run.root)
    dataset = TrainingRunsDataset(filepath=str(tmp_path / "list.json"))
    with pytest.raises(DatasetError, match="real: .*run is not whole after its node ran"):
        dataset.save({"real": run})
    assert not dataset.exists()


def test_a_project_that_is_moved_keeps_its_lists(listed, tmp_path):
    moved = tmp_path / "moved"
    moved.mkdir()
    for folder in ("05_model_input", "06_models"):
        (tmp_path / folder).rename(moved / folder)
    dataset = TrainingRunsDataset(filepath=str(moved / "05_model_input" / "mine" / "segmenters.json"))
    assert dataset.load()["real/seed-0"].root.resolve() == moved / "06_models" / "real" / "0"


def test_a_list_is_shown_and_named(listed, tmp_path):
    shown = json.loads(listed.preview())
    assert shown["real/seed-1"] == {"folder": "../../06_models/real/1", "fingerprint": "b"}
    assert listed._describe() == {"filepath": str(tmp_path / "05_model_input" / "mine" / "segmenters.json")}
    assert json.loads(TrainingRunsDataset(filepath="nowhere.json").preview()) == {}
