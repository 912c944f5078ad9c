"""Kedro's datasets of single files, written aside and then renamed: for what runs write and read at once."""

from __future__ import annotations

import copy
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from kedro_datasets.json import JSONDataset
from kedro_datasets.pandas import CSVDataset, ParquetDataset

from lesionlab.stages.artifact import aside_of


class _FileDataset(Protocol):
    _filepath: PurePosixPath

    def save(self, data: Any) -> None: ...


def _save_whole(dataset: _FileDataset, kind: Any, data: Any) -> None:
    """Save as the kind does, so that a reader sees the old file or the new one, never a part."""
    place = Path(dataset._filepath)
    place.parent.mkdir(parents=True, exist_ok=True)
    aside, other = aside_of(place), copy.copy(dataset)
    other._filepath = PurePosixPath(aside)
    try:
        kind.save(other, data)
        aside.replace(place)
    finally:
        aside.unlink(missing_ok=True)


class WholeCSVDataset(CSVDataset):  # type: ignore[misc]
    """A table as CSV, replaced as a whole."""

    def save(self, data: Any) -> None:
        """Write the table; a reader sees the old one or the new one."""
        _save_whole(self, CSVDataset, data)


class WholeParquetDataset(ParquetDataset):  # type: ignore[misc]
    """A table as Parquet, replaced as a whole."""

    def save(self, data: Any) -> None:
        """Write the table; a reader sees the old one or the new one."""
        _save_whole(self, ParquetDataset, data)


class WholeJSONDataset(JSONDataset):  # type: ignore[misc]
    """JSON, replaced as a whole."""

    def save(self, data: Any) -> None:
        """Write the content; a reader sees the old one or the new one."""
        _save_whole(self, JSONDataset, data)
