"""Kedro datasets for several folders that one node leaves, each whole or absent: trainings, slice stores.

Trials share folders: the segmenter that sees real slices alone is the same in each. So a trial keeps a list of those
it has, with the fingerprint that each had.
"""

from __future__ import annotations

import json
import os
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from kedro.io import AbstractDataset, DatasetError
from kedro_datasets._typing import JSONPreview

from lesionlab.slices.store import SliceStore
from lesionlab.stages.artifact import is_current, read_receipt, write_json
from lesionlab.training.runs import TrainingRun


class _Handle(Protocol):
    @property
    def root(self) -> Path: ...


H = TypeVar("H", bound=_Handle)


class IndexDataset(AbstractDataset[Mapping[str, H], dict[str, H]]):
    """Folders by name, listed in a JSON file: name to folder (relative to the list) and fingerprint.

    Args:
        filepath: the list, relative to the project.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, object] | None = None) -> None:
        self._path = Path(filepath)
        self.metadata = metadata

    @abstractmethod
    def _open(self, root: Path) -> H:
        """The handle of a folder, known to be whole."""

    def load(self) -> dict[str, H]:
        """Handles by name; raises ``DatasetError`` for a folder that is missing, not whole, or made anew since."""
        listed = self._listed()
        if listed is None:
            raise DatasetError(f"{self._path} is missing. Cure: run the pipeline that makes it")
        for name, entry in listed.items():
            if not is_current(self._path.parent / entry["folder"], entry["fingerprint"]):
                raise DatasetError(
                    f"{name}: {entry['folder']} is missing, not whole, or was made anew since {self._path} was "
                    "written. Cure: run the pipeline that makes it"
                )
        return {name: self._open(self._path.parent / entry["folder"]) for name, entry in listed.items()}

    def save(self, data: Mapping[str, H]) -> None:
        """List what the node left; raises ``DatasetError`` for a folder that is not whole."""
        listed = {}
        for name, handle in data.items():
            receipt = read_receipt(handle.root)
            if receipt is None:
                raise DatasetError(f"{name}: {handle.root} is not whole after its node ran")
            folder = os.path.relpath(handle.root, self._path.parent)
            listed[name] = {"folder": folder, "fingerprint": receipt["fingerprint"]}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self._path, listed)

    def _listed(self) -> dict[str, Any] | None:
        if not self._path.is_file():
            return None
        listed: dict[str, Any] = json.loads(self._path.read_text(encoding="utf-8"))
        return listed

    def _exists(self) -> bool:
        listed = self._listed()
        return listed is not None and all(
            is_current(self._path.parent / entry["folder"], entry["fingerprint"]) for entry in listed.values()
        )

    def preview(self) -> JSONPreview:
        """The list, for kedro-viz."""
        return JSONPreview(json.dumps(self._listed() or {}))

    def _describe(self) -> dict[str, str]:
        return {"filepath": str(self._path)}


class TrainingRunsDataset(IndexDataset[TrainingRun]):
    """Finished trainings."""

    def _open(self, root: Path) -> TrainingRun:
        return TrainingRun(root)


class SliceStoresDataset(IndexDataset[SliceStore]):
    """Slice stores."""

    def _open(self, root: Path) -> SliceStore:
        return SliceStore(root)
