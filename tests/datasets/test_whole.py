"""Files that several runs write: the old one or the new one, never a part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from kedro.io import DatasetError

from lesionlab.datasets import WholeCSVDataset, WholeJSONDataset, WholeParquetDataset

TABLE = pd.DataFrame({"study": ["a", "b"], "n": [1, 2]})


@pytest.mark.parametrize(
    ("kind", "data"), [(WholeCSVDataset, TABLE), (WholeParquetDataset, TABLE), (WholeJSONDataset, {"root": "x"})]
)
def test_they_are_kedros_own_and_replace_the_file_as_a_whole(tmp_path: Path, kind: Any, data: Any) -> None:
    place = tmp_path / "folder" / "file"
    dataset = kind(filepath=str(place))
    dataset.save(data)
    before = place.stat().st_ino
    with place.open("rb") as reader:
        content = place.read_bytes()
        dataset.save(data)
        assert reader.read() == content  # who has it open reads on in the old one
    assert place.stat().st_ino != before
    loaded = dataset.load()
    assert loaded.equals(data) if isinstance(data, pd.DataFrame) else loaded == data
    assert [path.name for path in place.parent.iterdir()] == ["file"]


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    dataset = WholeJSONDataset(filepath=str(tmp_path / "file.json"))
    dataset.save({"a": 1})
    with pytest.raises(DatasetError):
        dataset.save({"a": object()})
    assert dataset.load() == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["file.json"]
