"""Where an experiment's data lives."""

from __future__ import annotations

from pathlib import Path

import pytest
from kedro.io import DatasetError

from lesionlab.datasets import Folders, FoldersDataset


@pytest.fixture
def dataset() -> FoldersDataset:
    return FoldersDataset(workspace={"path": "data/x"}, results={"path": "data/x/fold1"})


def test_what_the_split_does_not_touch_is_shared_by_the_folds(dataset):
    folders = dataset.load()
    assert folders == Folders(Path("data/x"), Path("data/x/fold1"))
    assert folders.scans == Path("data/x/01_raw")
    assert folders.shared_stage("bias") == Path("data/x/03_primary/bias")


def test_what_saw_the_training_split_is_the_folds_own(dataset):
    folders = dataset.load()
    assert folders.stage("atlas") == Path("data/x/fold1/03_primary/atlas")
    assert folders.features("slices") == Path("data/x/fold1/04_feature/slices")
    assert folders.model("cgsamr") == Path("data/x/fold1/06_models/cgsamr")
    assert folders.reporting == Path("data/x/fold1/08_reporting")


def test_they_are_always_there_and_never_saved(dataset):
    assert dataset.exists()
    with pytest.raises(DatasetError, match="come from the configuration"):
        dataset.save(dataset.load())
